// The tree of quota/tree.h.
#include "quota/tree.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "quota/quota.h"
#include "quota/unit.h"

namespace troot::quota {
namespace {
// A charge that just fitted and is then refused lost a race; somebody else won it, so this ends.
// The number only keeps a mistake from becoming an endless loop.
constexpr int kRaces = 10000;
}  // namespace

HeldRefusal::~HeldRefusal() {
  if (by_ == nullptr) return;
  by_->dquot_.count_failure();
  by_->tree().publish(*by_, crossed_, when_);
}

void HeldRefusal::drop() noexcept {
  if (by_ != nullptr) by_->dquot_.forget_refusal(crossed_);
  by_ = nullptr;
}

void HeldRefusal::note(Project& by, const Crossed& crossed, Seconds now) noexcept {
  if (by_ != nullptr) return by.dquot_.forget_refusal(crossed);
  by_ = &by;
  crossed_ = crossed;
  when_ = now;
}

Tree::Tree(Clock clock, std::int64_t margin_bytes, bool enforce)
    : clock_(std::move(clock)),
      margin_bytes_(margin_bytes),
      enforcing_(enforce),
      total_(*this, kDefaultProject, nullptr) {
  WriteLock lock(shape_);
  (void)make(kDefaultProject);
}

Terms Tree::terms(Ask ask) const {
  return {.how = ask.how,
          .held = ask.held,
          .now = clock_(),
          .enforcing = enforcing_.load(),
          .margin_bytes = margin_bytes_};
}

Project* Tree::find(ProjId id) const {
  const auto it = projects_.find(to_u32(id));
  return it == projects_.end() ? nullptr : it->second.get();
}

Project& Tree::make(ProjId id) {
  if (Project* const known = find(id)) return *known;
  // Made before it has a slot: an empty one would be found where memory is short.
  auto fresh = std::make_unique<Project>(*this, id, &total_);
  fresh->dquot_.set_grace(grace_);
  return *projects_.emplace(to_u32(id), std::move(fresh)).first->second;
}

void Tree::ensure(ProjId id) {
  {
    ReadLock lock(shape_);
    if (find(id) != nullptr) return;
  }
  WriteLock lock(shape_);
  (void)make(id);
}

Tree::Refusal Tree::climb(Project* first, const Project* end, Usage delta, const Terms& terms) {
  // Crossings are rare; nothing is allocated without one.
  std::vector<std::pair<const Project*, Crossed>> all;
  for (Project* node = first; node != end; node = node->parent_) {
    Crossed crossed;
    const bool charged = node->dquot_.charge(delta, terms, crossed);
    if (charged && crossed.any()) all.emplace_back(node, crossed);
    if (charged) continue;
    // What is taken back crossed nothing, in either direction.
    Crossed never;
    for (Project* undo = first; undo != node; undo = undo->parent_) {
      undo->dquot_.unreserve(delta, terms, never);
    }
    return {node, crossed};
  }
  for (const auto& [node, crossed] : all) publish(*node, crossed, terms.now);
  return {};
}

bool Tree::charge(Project* first, const Project* end, Usage delta, const Terms& terms) {
  const Refusal refusal = climb(first, end, delta, terms);
  if (refusal.by != nullptr) refused(*refusal.by, refusal.crossed, terms);
  return refusal.by == nullptr;
}

void Tree::refused(Project& by, const Crossed& crossed, const Terms& terms) noexcept {
  if (terms.held != nullptr) return terms.held->note(by, crossed, terms.now);
  by.dquot_.count_failure();
  by.tree().publish(by, crossed, terms.now);
}

void Tree::publish(const Project& project, const Crossed& crossed, Seconds now) noexcept {
  struct Meaning {
    Signals signal;
    Warning bytes, inodes;
  };
  static constexpr Meaning kMeanings[] = {
      {kPassedSoft, Warning::kBytesSoft, Warning::kInodesSoft},
      {kRefusedHard, Warning::kBytesHard, Warning::kInodesHard},
      {kRefusedSoft, Warning::kBytesSoftLong, Warning::kInodesSoftLong},
      {kBelowHard, Warning::kBytesHardBelow, Warning::kInodesHardBelow},
      {kBelowSoft, Warning::kBytesSoftBelow, Warning::kInodesSoftBelow}};
  if (!crossed.any()) return;
  for (const Meaning& meaning : kMeanings) {
    if ((crossed.bytes & meaning.signal) != 0) publish(project, meaning.bytes, now);
    if ((crossed.inodes & meaning.signal) != 0) publish(project, meaning.inodes, now);
  }
}

void Tree::publish(const Project& project, Warning warning, Seconds now) noexcept {
  const Meter& meter = is_of_bytes(warning) ? project.dquot_.bytes() : project.dquot_.inodes();
  Event event;
  event.time = now;
  if (&project != &total_) event.project = project.id_;
  event.warning = warning;
  event.used = meter.charged();
  event.limits = meter.limits();
  event.timer = meter.timer();
  events_.publish(event);
}

Result<Project*> Tree::reserve(ProjId id, Usage delta, Ask ask) {
  if (delta.bytes < 0 || delta.inodes < 0) return fail(EINVAL);
  const Terms now = terms(ask);
  ensure(id);
  ReadLock lock(shape_);
  Project* const project = find(id);
  if (!charge(project, nullptr, delta, now)) return fail(EDQUOT);
  return project;
}

void Tree::refuse_rest(Project& tightest, const Terms& terms) {
  // Whoever asked for one part at a time, as a kernel that splits a write does, would meet the
  // refusal as well.
  Crossed crossed;
  tightest.dquot_.refuse_bytes(kPageSize, terms, crossed);
  tightest.dquot_.count_failure();
  publish(tightest, crossed, terms.now);
}

Result<Tree::Partial> Tree::reserve_up_to(ProjId id, std::int64_t want_bytes, Ask ask) {
  if (want_bytes < kPageSize) return fail(EINVAL);
  const Terms now = terms(ask);
  ensure(id);
  ReadLock lock(shape_);
  Project* const project = find(id);
  for (int race = 0; race < kRaces; ++race) {
    std::int64_t room = want_bytes;
    Project* tightest = project;
    for (Project* node = project; node != nullptr; node = node->parent_) {
      const std::int64_t here = node->dquot_.bytes().room(now);
      if (here < room) {
        room = here;
        tightest = node;
      }
    }
    const std::int64_t bytes = room / kPageSize * kPageSize;
    if (bytes == 0) {
      Crossed crossed;
      tightest->dquot_.refuse_bytes(kPageSize, now, crossed);
      refused(*tightest, crossed, now);
      return fail(EDQUOT);
    }
    const Refusal refusal = climb(project, nullptr, {bytes, 0}, now);
    if (refusal.by == nullptr) {
      if (bytes < want_bytes) refuse_rest(*tightest, now);
      return Partial{project, bytes};
    }
    // Not by charge(): losing a race to somebody is no failed charge.
    refusal.by->dquot_.forget_refusal(refusal.crossed);
  }
  return fail(EDQUOT);
}

void Tree::claim(Project& project, Usage used, Usage rest) noexcept {
  const Terms now = terms(Enforce::kForce);
  ReadLock lock(shape_);
  for (Project* node = &project; node != nullptr; node = node->parent_) {
    node->dquot_.claim(used);
    Crossed crossed;
    node->dquot_.unreserve(rest, now, crossed);
    publish(*node, crossed, now.now);
  }
}

void Tree::give_back(Project* first, const Project* end, Usage amount,
                     const Terms& terms) noexcept {
  for (Project* node = first; node != end; node = node->parent_) {
    Crossed crossed;
    node->dquot_.release(amount, terms, crossed);
    publish(*node, crossed, terms.now);
  }
}

void Tree::release(ProjId id, Usage amount) noexcept {
  const Terms now = terms(Enforce::kForce);
  ReadLock lock(shape_);
  // A project without a node was never charged.
  give_back(find(id), nullptr, amount, now);
}

Project* Tree::meeting(Project* a, Project* b) {
  // Chains are a few nodes long. Both end at the total, so there is a meeting.
  for (Project* x = a; x != nullptr; x = x->parent_) {
    for (Project* y = b; y != nullptr; y = y->parent_) {
      if (x == y) return x;
    }
  }
  return nullptr;
}

Status Tree::transfer(ProjId from, ProjId to, Usage amount, Ask ask) {
  if (amount.bytes < 0 || amount.inodes < 0) return fail(EINVAL);
  const Terms now = terms(ask);
  ensure(from);
  ensure(to);
  ReadLock lock(shape_);
  Project* const source = find(from);
  Project* const target = find(to);
  const Project* shared = meeting(source, target);
  if (!charge(target, shared, amount, now)) return fail(EDQUOT);
  for (Project* node = target; node != shared; node = node->parent_) node->dquot_.claim(amount);
  give_back(source, shared, amount, now);
  return {};
}

ProjectState Tree::state_of(const Project& project) const {
  ProjectState state{.report = project.dquot_.report(project.id_),
                     .grace = project.grace_,
                     .parent = std::nullopt};
  if (project.parent_ != nullptr && project.parent_ != &total_) state.parent = project.parent_->id_;
  return state;
}

ProjectState Tree::state(ProjId id) const {
  ReadLock lock(shape_);
  const Project* project = find(id);
  if (project != nullptr) return state_of(*project);
  ProjectState state;
  state.report.id = id;
  return state;
}

ProjectState Tree::total() const {
  ReadLock lock(shape_);
  ProjectState state = state_of(total_);
  state.grace = grace_;
  return state;
}

std::vector<ProjectState> Tree::states() const {
  std::vector<ProjectState> states;
  {
    ReadLock lock(shape_);
    states.reserve(projects_.size());
    for (const auto& [_, project] : projects_) states.push_back(state_of(*project));
  }
  std::sort(states.begin(), states.end(),
            [](const auto& a, const auto& b) { return a.report.id < b.report.id; });
  return states;
}

void Tree::for_chain(ProjId id, const std::function<void(const Dquot&)>& visit) const {
  ReadLock lock(shape_);
  const Project* first = find(id);
  for (const Project* node = first != nullptr ? first : &total_; node != nullptr;
       node = node->parent_) {
    visit(node->dquot_);
  }
}

}  // namespace troot::quota
