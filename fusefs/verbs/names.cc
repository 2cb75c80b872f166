// A name as an operation takes it.
#include "fusefs/verbs/names.h"

#include <dirent.h>

#include <climits>

#include "fusefs/tree/birth.h"
#include "fusefs/upper/name_charge.h"

namespace troot::fusefs {

Status check_name(std::string_view name) {
  if (name.empty()) return fail(ENOENT);
  if (name.size() > NAME_MAX) return fail(ENAMETOOLONG);
  return {};
}

NewName::~NewName() {
  if (fresh_ == nullptr) return;
  dir_->dir->names.take(fresh_);
  free_name(fresh_);
  state_.counts.names.fetch_sub(1, std::memory_order_relaxed);
}

Status NewName::open(std::string_view text) {
  name_ = dir_->dir->names.find(text);
  if (name_ != nullptr) {
    const bool free = name_->whiteout() || is_gone_below(state_, dir_, name_);
    return free ? Status{} : fail(EEXIST);
  }
  name_ = new_name(text, kUpper, DT_UNKNOWN, 0);
  dir_->dir->names.insert(name_);
  state_.counts.names.fetch_add(1, std::memory_order_relaxed);
  fresh_ = name_;
  return {};
}

std::int64_t NewName::growth() const {
  const bool there = fresh_ == nullptr && name_->layer == kUpper;
  return there ? 0 : NameCharge::of(name_->view());
}

void NewName::keep(mode_t mode) {
  name_->flags &= static_cast<unsigned char>(~Name::kWhiteout);
  if (name_->layer != kUpper) name_->flags |= Name::kBelow;  // it may be back
  name_->layer = kUpper;
  name_->d_type = static_cast<unsigned char>(IFTODT(mode));
  fresh_ = nullptr;
}

}  // namespace troot::fusefs
