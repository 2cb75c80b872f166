// The command `troot doctor`.
#include <algorithm>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/troot/commands/command.h"
#include "tools/troot/commands/probes.h"
#include "tools/troot/text/render.h"
#include "tools/troot/world/store.h"

namespace troot::cli {
namespace {

const char* word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      return "fail";
  }
  return "";
}

std::string rendered(const std::vector<Finding>& findings) {
  std::string out;
  for (const auto& finding : findings) {
    const Tone tone = finding.verdict == Verdict::kOk     ? Tone::kGood
                      : finding.verdict == Verdict::kWarn ? Tone::kWarning
                                                          : Tone::kBad;
    std::string word = word_of(finding.verdict);
    const std::string padding(6 - word.size(), ' ');
    out += tinted(tone, word) + padding + finding.what + ": " + finding.detail + "\n";
    if (!finding.cure.empty()) out += "      " + finding.cure + "\n";
  }
  return out;
}

Outcome<int> doctor(bool json) {
  TAKE(path, Store::path_of_user());
  const auto store = Store::of_user();
  const auto findings = probe_all(path, store ? "" : store.error().text);
  std::string out;
  if (json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& f : findings) {
      all.push_back({{"what", f.what},
                     {"verdict", word_of(f.verdict)},
                     {"detail", f.detail},
                     {"cure", f.cure}});
    }
    out = all.dump(2) + "\n";
  } else {
    out = rendered(findings);
  }
  std::fputs(out.c_str(), stdout);
  const bool failed = std::any_of(findings.begin(), findings.end(),
                                  [](const Finding& f) { return f.verdict == Verdict::kFail; });
  return failed ? 1 : 0;
}

}  // namespace

void add_doctor(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand(
      "doctor", "Try all that worlds need of this host, and say what mends what fails");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "As JSON");
  command->callback([json, &typed] { typed.action = [json] { return doctor(*json); }; });
}

}  // namespace troot::cli
