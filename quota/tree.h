// The projects of a mount as a tree: which project is below which, and charging up a chain with
// undo. At the root stands the total, which is no project: it has no id. The kernel's file systems
// know no tree; the rule of a charge is that of memory cgroups (docs/QUOTA-RULES.md, "Beyond the
// kernels").
//
// Arguments, units and errors are those of quota/quota.h. EDQUOT is said here whatever errno the
// mount answers with.
//
// Thread-safety: every method from any thread. A lock held shared for charges and alone for changes
// of the tree's shape, so that a charge walks one chain from end to end; it never spans I/O.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "quota/base/mutex.h"
#include "quota/base/result.h"
#include "quota/charges.h"
#include "quota/dquot.h"
#include "quota/events.h"
#include "quota/state.h"
#include "quota/types.h"

namespace troot::quota {

class Tree;

/// One node. Lives as long as its tree; its address never changes.
class Project {
 public:
  Project(Tree& tree, ProjId id, Project* parent)
      : tree_(tree),
        id_(id),
        parent_(parent),
        dquot_(parent == nullptr ? InodeRule::kDerived : InodeRule::kNone) {}
  [[nodiscard]] Tree& tree() const noexcept { return tree_; }
  [[nodiscard]] ProjId id() const noexcept { return id_; }

 private:
  friend class Tree;
  friend class HeldRefusal;
  Tree& tree_;
  const ProjId id_;
  Project* parent_;             // guarded by the tree's lock; null: this is the total
  std::optional<Grace> grace_;  // likewise; its own grace, else the mount's
  Dquot dquot_;
};

class Tree {
 public:
  /// `margin_bytes`: of each project (rule 11). `enforce`: as OpenOptions::enforce.
  Tree(Clock clock, std::int64_t margin_bytes, bool enforce);

  // ---- charging: as the methods of Quota of the same names ----
  [[nodiscard]] Result<Project*> reserve(ProjId id, Usage delta, Ask ask) EXCLUDES(shape_);
  /// What reserve_up_to() holds.
  struct Partial {
    Project* project;
    std::int64_t bytes;
  };
  [[nodiscard]] Result<Partial> reserve_up_to(ProjId id, std::int64_t want_bytes, Ask ask)
      EXCLUDES(shape_);
  /// Of what is held on `project`'s chain, makes `used` usage and gives `rest` back.
  void claim(Project& project, Usage used, Usage rest) noexcept EXCLUDES(shape_);
  void release(ProjId id, Usage amount) noexcept EXCLUDES(shape_);
  [[nodiscard]] Status transfer(ProjId from, ProjId to, Usage amount, Ask ask) EXCLUDES(shape_);

  // ---- shape and settings. An absent id is the total (in set_grace: the mount's default) ----
  void set_limits(std::optional<ProjId> id, const Limits& limits) EXCLUDES(shape_);
  void set_grace(std::optional<ProjId> id, const Grace& grace) EXCLUDES(shape_);
  [[nodiscard]] Grace grace() const EXCLUDES(shape_);
  void set_timers(ProjId id, Seconds bytes_end, Seconds inodes_end) EXCLUDES(shape_);
  [[nodiscard]] Status set_parent(ProjId id, std::optional<ProjId> parent,
                                  Enforce how = Enforce::kLimits) EXCLUDES(shape_);
  void reset_peak(ProjId id) EXCLUDES(shape_);
  /// Sets the settings of a project, or of the total, back to `before`, where they could not be
  /// saved. Its parent is not among them: that is set_parent() by force.
  void set_back(std::optional<ProjId> id, const ProjectState& before) EXCLUDES(shape_);
  void set_enforcement(bool on) noexcept { enforcing_.store(on); }
  [[nodiscard]] bool enforcing() const noexcept { return enforcing_.load(); }

  /// Makes and returns the lowest project from `first` on that the tree has never seen; nothing
  /// where there is none. Nobody else is given it.
  [[nodiscard]] std::optional<ProjId> new_project(ProjId first) EXCLUDES(shape_);
  [[nodiscard]] EventRing& events() noexcept { return events_; }

  // ---- what the ledger needs ----
  /// So much more is counted by sealed layers, from the next load() or clear_usage() on.
  void seal(const Charges& more) EXCLUDES(shape_);
  [[nodiscard]] Charges sealed() const EXCLUDES(shape_);
  /// Takes over what a ledger remembers, into a tree that nobody charges yet. A parent that would
  /// close a ring is ignored.
  void load(const ProjectState& total, const std::vector<ProjectRecord>& projects) EXCLUDES(shape_);
  /// Moves the usage of `id` and its ancestors, up by force or down, to what the disk shows.
  void adjust(ProjId id, Usage delta) EXCLUDES(shape_);
  /// Sets every usage to what sealed layers count. Nobody charges meanwhile.
  void clear_usage() EXCLUDES(shape_);
  /// Makes timers and margins follow from usage, after a load or a recount.
  void settle() EXCLUDES(shape_);

  // ---- reports ----
  [[nodiscard]] ProjectState state(ProjId id) const EXCLUDES(shape_);
  [[nodiscard]] ProjectState total() const EXCLUDES(shape_);
  /// Ascending by id.
  [[nodiscard]] std::vector<ProjectState> states() const EXCLUDES(shape_);
  /// Calls `visit` for `id` and its ancestors up to the total.
  void for_chain(ProjId id, const std::function<void(const Dquot&)>& visit) const EXCLUDES(shape_);

 private:
  friend class HeldRefusal;
  [[nodiscard]] Terms terms(Ask ask) const;
  /// Adds to the usage of a project and those above it, without a check.
  void load_own(Project& project, Usage own) REQUIRES(shape_);
  void load_sealed() REQUIRES(shape_);
  [[nodiscard]] Project* find(ProjId id) const REQUIRES_SHARED(shape_);
  [[nodiscard]] Project& make(ProjId id) REQUIRES(shape_);
  /// Sees to it that `id` has a node; nodes never go away.
  void ensure(ProjId id) EXCLUDES(shape_);
  struct Refusal {
    Project* by = nullptr;  ///< null: charged
    Crossed crossed;        ///< what its refusal crossed, not published yet
  };
  /// Charges from `first` up to, not including, `end` (null: up to the total); all or nothing. What
  /// a charge that stands has crossed is published.
  [[nodiscard]] Refusal climb(Project* first, const Project* end, Usage delta, const Terms& terms)
      REQUIRES_SHARED(shape_);
  /// The same, with a refusal counted.
  [[nodiscard]] bool charge(Project* first, const Project* end, Usage delta, const Terms& terms)
      REQUIRES_SHARED(shape_);
  /// Counts a refusal, at once or when terms.held ends.
  static void refused(Project& by, const Crossed& crossed, const Terms& terms) noexcept;
  /// A charge was cut to what fits: what is left over counts as refused, by `tightest`.
  void refuse_rest(Project& tightest, const Terms& terms) REQUIRES_SHARED(shape_);
  void give_back(Project* first, const Project* end, Usage amount, const Terms& terms) noexcept
      REQUIRES_SHARED(shape_);
  /// The first node that both chains share.
  [[nodiscard]] static Project* meeting(Project* a, Project* b);
  void publish(const Project& project, const Crossed& crossed, Seconds now) noexcept;
  void publish(const Project& project, Warning warning, Seconds now) noexcept;
  [[nodiscard]] ProjectState state_of(const Project& project) const REQUIRES_SHARED(shape_);

  const Clock clock_;
  const std::int64_t margin_bytes_;
  std::atomic<bool> enforcing_;
  EventRing events_;
  mutable SharedMutex shape_;
  Grace grace_ GUARDED_BY(shape_);
  Project total_;
  Charges sealed_ GUARDED_BY(shape_);
  std::unordered_map<std::uint32_t, std::unique_ptr<Project>> projects_ GUARDED_BY(shape_);
};

}  // namespace troot::quota
