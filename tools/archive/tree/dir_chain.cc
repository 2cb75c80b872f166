// Walks through directories (tools/archive/tree/dir_chain.h).
#include "tools/archive/tree/dir_chain.h"

#include <fcntl.h>

namespace troot::archive {
namespace {

/// As many descriptors are kept at most; trees are seldom deeper.
constexpr std::size_t kMostKept = 48;

}  // namespace

DirChain::Reached DirChain::walk(const std::vector<std::string_view>& names) {
  std::size_t depth = 0;
  while (depth < kept_.size() && depth < names.size() && kept_[depth].name == names[depth]) ++depth;
  kept_.resize(depth);
  last_.reset();
  int fd = depth == 0 ? root_ : kept_[depth - 1].fd.get();
  for (; depth < names.size(); ++depth) {
    auto next = fusefs::posix::open_at(fd, fusefs::CName(names[depth]).get(),
                                       O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!next) return {fd, depth, next.error().value()};
    if (depth < kMostKept) {
      kept_.push_back({std::string(names[depth]), std::move(*next)});
      fd = kept_.back().fd.get();
    } else {
      last_ = std::move(*next);
      fd = last_.get();
    }
  }
  return {fd, depth, 0};
}

}  // namespace troot::archive
