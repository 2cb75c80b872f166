// What owns it: options of the tools by getopt_long(3), so that clusters (-Pvs), abbreviations and
// "--" work as in the stock tools, with its complaints as one line of ours.
#pragma once

#include <getopt.h>

#include <functional>
#include <string>
#include <vector>

#include "tools/quota/tool.h"

namespace troot::quota_tools {

/// Calls `take` with each option's letter (or `val`) and argument; returns the other words. Not
/// thread-safe, as getopt_long is not.
template <typename Take>
cli::Outcome<Words> parse_options(const Call& call, const std::string& letters,
                                  const std::vector<option>& longs, Take take) {
  std::vector<std::string> copies{call.tool};
  copies.insert(copies.end(), call.words.begin(), call.words.end());
  std::vector<char*> argv;
  for (auto& word : copies) argv.push_back(word.data());
  const int argc = static_cast<int>(argv.size());
  argv.push_back(nullptr);
  std::vector<option> table = longs;
  table.push_back({nullptr, 0, nullptr, 0});
  ::optind = 0;
  ::opterr = 0;
  const std::string quiet = ":" + letters;
  for (int found = 0;
       (found = ::getopt_long(argc, argv.data(), quiet.c_str(), table.data(), nullptr)) != -1;) {
    if (found == '?' || found == ':') {
      const std::string word = ::optopt > 0 && ::optopt < 128 && found == '?'
                                   ? std::string("-") + static_cast<char>(::optopt)
                                   : copies[static_cast<std::size_t>(::optind - 1)];
      return cli::failure(word + (found == ':' ? " needs a value" : " is not an option") + " (" +
                          call.tool + " --help)");
    }
    NEED(take(found, ::optarg == nullptr ? std::string() : std::string(::optarg)));
  }
  return Words(argv.begin() + ::optind, argv.begin() + argc);
}

}  // namespace troot::quota_tools
