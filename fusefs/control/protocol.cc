// Finding a request in the table of the control socket's grammar.
#include "fusefs/control/protocol.h"

#include <algorithm>

#include "fusefs/base/escape.h"

namespace troot::fusefs {
namespace {

/// A word up to and with its `=`; all of one that has none.
std::string_view key_of_word(std::string_view word) {
  return word.substr(0, std::min(word.find('='), word.size() - 1) + 1);
}

bool takes(const VerbGrammar& grammar, std::string_view word) {
  constexpr std::string_view kMarks = " [](|)";
  const std::string_view key = key_of_word(word);
  std::string_view left = grammar.words;
  while (true) {
    left.remove_prefix(std::min(left.find_first_not_of(kMarks), left.size()));
    if (left.empty()) return false;
    const auto known = left.substr(0, left.find_first_of(" ])"));
    if (key_of_word(known) == key) return true;
    left.remove_prefix(known.size());
  }
}

}  // namespace

std::vector<std::string_view> words_of(std::string_view request) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at <= request.size();) {
    const auto end = std::min(request.find(' ', at), request.size());
    if (end > at) words.push_back(request.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

const VerbGrammar* grammar_of(std::span<const std::string_view> words) {
  if (words.empty()) return nullptr;
  const auto rest = words.subspan(1);
  const auto found = std::ranges::find_if(kVerbs, [&](const VerbGrammar& grammar) {
    return grammar.name == words[0] &&
           std::ranges::all_of(rest, [&](auto word) { return takes(grammar, word); });
  });
  return found == kVerbs.end() ? nullptr : &*found;
}

std::string why_not_known(std::span<const std::string_view> words) {
  std::string names, usage;
  for (const VerbGrammar& grammar : kVerbs) {
    const std::string name(grammar.name);
    if (!names.ends_with(" " + name)) names += " " + name;
    if (name != words[0]) continue;
    usage += usage.empty() ? "the request is: " : ", or: ";
    usage += grammar.words.empty() ? name : name + " " + std::string(grammar.words);
  }
  return usage.empty() ? escape_value(words[0]) + ": not a request; known:" + names : usage;
}

bool takes_long(std::string_view request) {
  const auto words = words_of(request);
  const VerbGrammar* const grammar = grammar_of(words);
  return grammar != nullptr && grammar->pace == Pace::kWalk;
}

}  // namespace troot::fusefs
