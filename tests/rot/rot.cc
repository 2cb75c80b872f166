// Implements rot.h.
#include "rot/rot.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

namespace troot::tests {
namespace {

namespace fs = std::filesystem;

Damage flip(const std::string& path, std::size_t at, unsigned bit) {
  return {path + ": bit " + std::to_string(bit) + " of byte " + std::to_string(at),
          [=](Files& files) { files[path][at] ^= static_cast<char>(1U << bit); }};
}

Damage cut(const std::string& path, std::size_t length) {
  return {path + ": cut to " + std::to_string(length),
          [=](Files& files) { files[path].resize(length); }};
}

}  // namespace

Files read_files(const std::string& dir) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (!entry.is_regular_file()) continue;
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    files[fs::path(entry.path()).lexically_relative(dir)] = text.str();
  }
  return files;
}

void write_files(const std::string& dir, const Files& files) {
  for (const auto& entry : fs::directory_iterator(dir)) fs::remove_all(entry.path());
  for (const auto& [path, bytes] : files) {
    fs::create_directories((fs::path(dir) / path).parent_path());
    std::ofstream(fs::path(dir) / path, std::ios::binary) << bytes;
  }
}

std::vector<Damage> every_damage(const Files& now, const std::vector<Files>& older,
                                 const Worth& worth) {
  std::vector<Damage> all;
  for (const auto& [path, bytes] : now) {
    for (const std::size_t at : worth(path, bytes)) {
      all.push_back(flip(path, at, 0));
      all.push_back(flip(path, at, 7));
      all.push_back(cut(path, at));
    }
    all.push_back({path + ": gone", [path = path](Files& files) { files.erase(path); }});
  }
  for (std::size_t i = 0; i < older.size(); ++i) {
    const std::string when = " as of state " + std::to_string(i);
    for (const auto& [path, bytes] : older[i]) {
      const auto same = now.find(path);
      if (same != now.end() && same->second == bytes) continue;
      all.push_back({path + when, [path = path, bytes = bytes](Files& f) { f[path] = bytes; }});
    }
  }
  return all;
}

std::vector<Damage> sampled(std::vector<Damage> all, std::size_t count, const std::string& always) {
  const char* const how = std::getenv("TROOT_ROT");
  if (how != nullptr && std::string(how) == "all") return all;
  const char* const given = std::getenv("TROOT_ROT_SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "TROOT_ROT_SEED=" << seed << '\n';
  std::mt19937_64 random(seed);
  const auto few = std::stable_partition(all.begin(), all.end(), [&always](const Damage& damage) {
    if (!always.empty() && damage.what.starts_with(always + ": bit")) return true;
    return damage.what.ends_with(": cut to 0") || (damage.what.find(": bit") == std::string::npos &&
                                                   damage.what.find(": cut") == std::string::npos);
  });
  std::shuffle(few, all.end(), random);
  const auto kept = static_cast<std::size_t>(few - all.begin()) + count;
  if (all.size() > kept) all.resize(kept);
  return all;
}

struct Lines::Kept {
  std::ostringstream text;
  std::shared_ptr<spdlog::logger> before = spdlog::default_logger();
};

Lines::Lines() : kept_(std::make_unique<Kept>()) {
  auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(kept_->text);
  auto logger = std::make_shared<spdlog::logger>("", std::move(sink));
  logger->set_level(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

Lines::~Lines() { spdlog::set_default_logger(kept_->before); }

std::string Lines::take() {
  std::string lines = kept_->text.str();
  kept_->text.str({});
  return lines;
}

}  // namespace troot::tests
