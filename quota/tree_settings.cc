// What is set on the tree of quota/tree.h, not charged to it: limits, grace, timers, parents, and
// what a ledger remembers of all that.
#include <algorithm>
#include <utility>

#include "quota/tree.h"

namespace troot::quota {

void Tree::set_limits(std::optional<ProjId> id, const Limits& limits) {
  const Terms now = terms(Enforce::kLimits);
  WriteLock lock(shape_);
  (id ? make(*id) : total_).dquot_.set_limits(limits, now);
}

void Tree::set_grace(std::optional<ProjId> id, const Grace& grace) {
  WriteLock lock(shape_);
  if (id) {
    Project& project = make(*id);
    project.grace_ = grace;
    project.dquot_.set_grace(grace);
    return;
  }
  grace_ = grace;
  total_.dquot_.set_grace(grace);
  for (auto& [_, project] : projects_) {
    if (!project->grace_) project->dquot_.set_grace(grace);
  }
}

Grace Tree::grace() const {
  ReadLock lock(shape_);
  return grace_;
}

void Tree::set_timers(ProjId id, Seconds bytes_end, Seconds inodes_end) {
  WriteLock lock(shape_);
  Dquot& dquot = make(id).dquot_;
  if (bytes_end != 0) dquot.bytes().move_timer(bytes_end);
  if (inodes_end != 0) dquot.inodes().move_timer(inodes_end);
}

std::optional<ProjId> Tree::new_project(ProjId first) {
  WriteLock lock(shape_);
  // The kernel's INVALID_PROJID can be set on nothing.
  for (std::uint32_t id = std::max(1U, to_u32(first)); id != UINT32_MAX; ++id) {
    if (find(ProjId{id}) == nullptr) return make(ProjId{id}).id_;
  }
  return std::nullopt;
}

Status Tree::set_parent(ProjId id, std::optional<ProjId> parent, Enforce how) {
  if (parent == id) return fail(ELOOP);
  const Terms now = terms(how);
  WriteLock lock(shape_);
  Project& project = make(id);
  Project* const above = parent ? &make(*parent) : &total_;
  for (const Project* node = above; node != nullptr; node = node->parent_) {
    if (node == &project) return fail(ELOOP);
  }
  // What operations under way hold moves too: they will claim it along the new chain. Nobody
  // charges while the lock is held alone, so the two numbers belong together.
  const Usage used = project.dquot_.used();
  const Usage held = project.dquot_.charged() - used;
  Project* const old = project.parent_;
  const Project* shared = meeting(old, above);
  if (!charge(above, shared, used + held, now)) return fail(EDQUOT);
  for (Project* node = above; node != shared; node = node->parent_) node->dquot_.claim(used);
  give_back(old, shared, used, now);
  for (Project* node = old; node != shared; node = node->parent_) {
    Crossed crossed;
    node->dquot_.unreserve(held, now, crossed);
    publish(*node, crossed, now.now);
  }
  project.parent_ = above;
  return {};
}

void Tree::reset_peak(ProjId id) {
  WriteLock lock(shape_);
  make(id).dquot_.reset_peak();
}

void Tree::set_back(std::optional<ProjId> id, const ProjectState& before) {
  const ProjectReport& report = before.report;
  if (!id) {
    set_grace(std::nullopt, before.grace.value_or(Grace{}));
  }
  const Terms now = terms(Enforce::kLimits);
  WriteLock lock(shape_);
  Project& project = id ? make(*id) : total_;
  if (id) {
    project.grace_ = before.grace;
    project.dquot_.set_grace(before.grace.value_or(grace_));
  }
  project.dquot_.set_limits(report.limits, now);
  if (report.bytes_timer != 0) project.dquot_.bytes().move_timer(report.bytes_timer);
  if (report.inodes_timer != 0) project.dquot_.inodes().move_timer(report.inodes_timer);
  project.dquot_.raise_peak(report.peak);
}

void Tree::load_own(Project& project, Usage own) {
  for (Project* node = &project; node != nullptr; node = node->parent_)
    node->dquot_.load_used(node->dquot_.used() + own);
}

void Tree::load_sealed() {
  for (const auto& [id, usage] : sealed_) load_own(make(ProjId{id}), usage);
}

void Tree::seal(const Charges& more) {
  WriteLock lock(shape_);
  add(sealed_, more);
}

Charges Tree::sealed() const {
  ReadLock lock(shape_);
  return sealed_;
}

void Tree::load(const ProjectState& total, const std::vector<ProjectRecord>& projects) {
  const Terms now = terms(Enforce::kForce);
  WriteLock lock(shape_);
  if (total.grace) grace_ = *total.grace;
  total_.dquot_.set_grace(grace_);
  for (const ProjectRecord& loaded : projects) {
    Project& project = make(loaded.state.report.id);
    project.grace_ = loaded.state.grace;
    project.dquot_.set_grace(loaded.state.grace.value_or(grace_));
    if (!loaded.state.parent) continue;
    Project& parent = make(*loaded.state.parent);
    if (meeting(&project, &parent) != &project) project.parent_ = &parent;
  }
  for (const ProjectRecord& loaded : projects) load_own(make(loaded.state.report.id), loaded.own);
  load_sealed();
  const auto finish = [&now](Project& project, const ProjectReport& report) {
    project.dquot_.load_history(report);
    project.dquot_.set_limits(report.limits, now);
  };
  finish(total_, total.report);
  for (const ProjectRecord& loaded : projects)
    finish(make(loaded.state.report.id), loaded.state.report);
}

void Tree::adjust(ProjId id, Usage delta) {
  const Usage up{std::max<std::int64_t>(0, delta.bytes), std::max<std::int64_t>(0, delta.inodes)};
  if (auto project = reserve(id, up, Enforce::kForce)) claim(**project, up, {});
  release(id, up - delta);
}

void Tree::clear_usage() {
  WriteLock lock(shape_);
  total_.dquot_.load_used({});
  for (auto& [_, project] : projects_) project->dquot_.load_used({});
  load_sealed();
}

void Tree::settle() {
  const Terms now = terms(Enforce::kForce);
  WriteLock lock(shape_);
  total_.dquot_.settle(now);
  for (auto& [_, project] : projects_) project->dquot_.settle(now);
}

}  // namespace troot::quota
