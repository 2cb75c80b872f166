// Seeded random operations on the union and on a tree in memory: the same errno, bytes, attributes
// and charge, through reopening and through the upper becoming a lower. Every failure names its
// seed.
//
// TROOT_MODEL_SEED=N runs that seed alone, TROOT_MODEL_SEEDS=N as many seeds as that from there on;
// TROOT_MODEL_OPS=N makes N operations of every seed (millions are fine).
#include <iostream>

#include "model/seeds.h"
#include "model/tree_user.h"

using namespace troot;
using namespace troot::tests;

namespace {

/// How owners and modes are kept, and who works.
enum class Kind { kPresented, kPlain, kNative };

NodePtr root_of(const Rig& rig) {
  auto root = std::make_shared<Node>();
  root->mode = S_IFDIR | 0755;
  root->uid = rig.caller.uid;
  root->gid = rig.caller.gid;
  root->nlink = 1;
  return root;
}

class Model : public TreeUser {
 public:
  Model(std::uint64_t seed, Kind kind, Rig& rig, Progress& progress)
      : TreeUser(seed, progress, root_of(rig),
                 kind == Kind::kPlain ? Powers::kOwner : Powers::kRoot, 1),
        kind_(kind),
        rig_(rig) {
    if (kind == Kind::kNative) {
      rig_.config.ownership = Ownership::kNative;
      rig_.config.xattr_space = XattrSpace::kTrusted;
      rig_.config.upper_owner.reset();
    }
    ::umask(0);
    ::chmod(rig_.config.upper.c_str(), 0755);
    Files files;
    fill_at_random(*root_, rig_.lower(), random_, root_->uid, root_->gid, files);
    rig_.lower_print = rig_.print_lowers();
    open();
  }

  /// With a snapshot now and then, which nobody may notice.
  void run_with_snapshots(std::uint64_t operations) {
    // Several names of a symlink part at a snapshot.
    links_symlinks_ = false;
    for (std::uint64_t i = 0; i < operations; ++i) {
      one();
      if (i % 300 == 299) compare();
      if (i % 700 == 699) seal();
      if (i % 900 == 899) refresh();
      if (i % 2000 == 1999) reopen();
    }
    compare();
    reopen();
    rig_.check_invariant();
    rig_.check_charges();
    open_root();
    compare();
  }

  void run(std::uint64_t operations) {
    for (std::uint64_t i = 0; i < operations; ++i) {
      one();
      if (i % 500 == 499) compare();
      if (i % 2500 == 2499) reopen();
      if (i % 6000 == 5999) rotate();
    }
    compare();
    reopen();
    rig_.check_invariant();
    open_root();
    compare();
  }

 private:
  void open() {
    rig_.open();
    open_root();
  }
  void open_root() {
    overlay_ = rig_.overlay.get();
    known_ = {root_};
    root_->id = kRootId;
    root_->lookups = 1;  // the kernel never forgets it
    must(overlay_->getattr(kRootId).has_value(), "the root has no attributes");
  }
  void close() {
    for (const NodePtr& node : known_) node->lookups = 0;
    REQUIRE(overlay_->close());
    rig_.overlay.reset();
  }
  void reopen() {
    if (chance(50)) {
      for (const NodePtr& node : std::vector<NodePtr>(known_)) {
        if (node != root_) give_back(node, node->lookups);
      }
      CHECK(overlay_->stats().inodes == 1);
      CHECK(overlay_->stats().parked == 0);
    }
    close();
    rig_.check_work_is_clean();
    open();
  }
  /// Sealed layers do not change, so nothing is found.
  void refresh() {
    const auto found = overlay_->refresh();
    REQUIRE(found);
    CHECK(found->failed == 0);
    compare();
  }
  void seal() {
    rig_.seal();
    for_each(*root_, [](Node& node) {
      // What is preallocated does not come along when a file is copied up.
      if (node.allocated) node.pages_known = false;
    });
    for (const NodePtr& node : known_) {
      if (node->allocated) node->pages_known = false;
    }
    compare();
  }
  /// As a lower layer the upper has no index: names that lie further down would part from those of
  /// the same inode that are in it. So they go, and all names of a symlink but one, since symlinks
  /// have no part in the index.
  void part_links(Node& dir, NodeId id, const std::string& path,
                  const std::set<std::uint64_t>& indexed, std::set<Node*>& links) {
    for (const auto& [name, node] : std::map<std::string, NodePtr>(dir.names)) {
      const auto e = overlay_->lookup(id, name);
      REQUIRE(e);
      const std::string at = path + "/" + name;
      struct stat st {};
      if (node->is_dir()) {
        part_links(*node, e->id, at, indexed, links);
      } else if ((indexed.contains(e->attr.st_ino) && ::lstat(at.c_str(), &st) != 0) ||
                 (S_ISLNK(node->mode) && !links.insert(node.get()).second)) {
        REQUIRE(overlay_->unlink(id, name));
        dir.names.erase(name);
        dir.mtime.reset();
        --node->nlink;
      }
      overlay_->forget(e->id, 1);
    }
  }
  void rotate() {
    std::set<Node*> links;
    part_links(*root_, kRootId, rig_.config.upper, rig_.indexed(), links);
    close();
    CHECK(rig_.print_lowers() == rig_.lower_print);
    rig_.rotate();
    root_->drop_xattrs();
    root_->mtime.reset();
    for_each(*root_, forget_projects);
    if (kind_ == Kind::kPresented)
      for_each(*root_, [this](Node& n) { forget_owner_of_symlink(n); });
    open();
    SetAttr set;
    set.uid = root_->uid;
    set.gid = root_->gid;
    set.mode = root_->mode & 07777;
    REQUIRE(overlay_->setattr(caller_, kRootId, set));
  }
  /// What a lower layer does not keep: projects, and what is preallocated.
  static void forget_projects(Node& node) {
    node.project = 0;
    node.inherit = false;
    node.ino = 0;
    const auto dense =
        static_cast<std::size_t>(quota::pages_of(static_cast<off_t>(node.data.size())));
    if (node.is_file() && node.pages.size() != dense) node.pages_known = false;
    if (node.allocated || node.xattr_bytes() > quota::kFreeXattrBytes) node.pages_known = false;
  }

  /// Those that are presented stay in the work directory.
  void forget_owner_of_symlink(Node& node) {
    if (!S_ISLNK(node.mode)) return;
    node.uid = rig_.config.upper_owner->first;
    node.gid = rig_.config.upper_owner->second;
  }

  const Kind kind_;
  Rig& rig_;
};

enum class Layers { kRotate, kSeal };

void run_as(Kind kind, std::uint64_t seed, std::uint64_t operations,
            Layers layers = Layers::kRotate) {
  INFO("TROOT_MODEL_SEED=" << seed << ", kind " << static_cast<int>(kind));
  Rig rig;
  Progress progress;
  try {
    Model model(seed, kind, rig, progress);
    if (layers == Layers::kSeal) {
      model.run_with_snapshots(operations);
    } else {
      model.run(operations);
    }
  } catch (const Broken& broken) {
    FAIL("kind " << static_cast<int>(kind) << ": " << broken.what());
  }
}

void run(std::uint64_t seed, std::uint64_t operations) {
  for (const Kind kind : {Kind::kPresented, Kind::kPlain, Kind::kNative}) {
    if (kind != Kind::kNative || ::geteuid() == 0) run_as(kind, seed, operations);
  }
}

}  // namespace

TEST_CASE("the same where no device may be made") {
  const struct NoDevices {
    NoDevices() {
      posix::set_hook(
          [](const char* call) { return std::string_view(call) == "mknodat" ? EPERM : 0; });
    }
    ~NoDevices() { posix::set_hook(nullptr); }
  } no_devices;
  for (const Layers layers : {Layers::kRotate, Layers::kSeal}) {
    run_as(Kind::kPlain, number_of("TROOT_MODEL_SEED", seed_of_today()),
           number_of("TROOT_MODEL_OPS", 6500), layers);
  }
}

TEST_CASE("nobody notices a snapshot") {
  const std::uint64_t operations = number_of("TROOT_MODEL_OPS", 5000);
  const std::uint64_t first = number_of("TROOT_MODEL_SEED", seed_of_today());
  const std::uint64_t seeds = number_of("TROOT_MODEL_SEEDS", 1);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    std::cerr << "TROOT_MODEL_SEED=" << seed << " (snapshots)\n";
    for (const Kind kind : {Kind::kPresented, Kind::kPlain, Kind::kNative}) {
      if (kind != Kind::kNative || ::geteuid() == 0) run_as(kind, seed, operations, Layers::kSeal);
    }
  }
}

TEST_CASE("the union does what a plain file system does") {
  const std::uint64_t operations = number_of("TROOT_MODEL_OPS", 8000);
  const std::uint64_t today = seed_of_today(), first = number_of("TROOT_MODEL_SEED", today);
  const std::uint64_t seeds = number_of("TROOT_MODEL_SEEDS", 1);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    std::cerr << "TROOT_MODEL_SEED=" << seed << "\n";
    run(seed, operations);
  }
  if (first != today || seeds != 1) return;
  for (const KeptSeed& kept : kModelSeeds) run(kept.seed, kept.operations);
}
