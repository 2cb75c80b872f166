// One who works on a tree of the union at random and knows every answer: the same
// errno, bytes, attributes and charge as a tree in memory that does the same. Nobody else works in
// this tree; others may in the same union.
//
// A difference is thrown as Broken (model/worker.h), with the number of the operation.
#pragma once

#include "model/lower.h"
#include "model/worker.h"

namespace troot::tests {

class TreeUser : public Worker {
 public:
  enum class Powers {
    kOwner,  ///< everything belongs to the tester, who may always read and write it
    kRoot    ///< other owners, every mode, special files, xattrs of the system
  };
  /// `root`: what lies in the lowers. `first_project`: the first of four ids that nobody else uses.
  TreeUser(std::uint64_t seed, Progress& progress, NodePtr root, Powers powers,
           std::uint32_t first_project);

  /// One operation.
  void one();
  /// The whole tree, and what is known beside it.
  void compare();

 protected:
  Overlay* overlay_ = nullptr;
  const NodePtr root_;
  bool links_symlinks_ = true;  ///< gives a symlink further names
  std::vector<NodePtr> known_;  ///< what the kernel would know: has lookups. Never empty

  void learn(const NodePtr& node, const Entry& e);
  void give_back(const NodePtr& node, std::uint64_t lookups);
  template <typename F>
  static void for_each(Node& node, const F& f) {
    f(node);
    for (auto& [name, child] : node.names) for_each(*child, f);
  }

 private:
  // ---- chance ----
  [[nodiscard]] bool root_powers() const { return powers_ == Powers::kRoot; }
  std::string some_name() { return name_from(random_); }
  mode_t some_mode(mode_t type);
  std::string some_text(std::size_t most);
  NodePtr some_known() { return known_[below(known_.size())]; }
  NodePtr some_dir();
  NodePtr some_file();
  Caller some_caller();
  /// One that may be set here: the tester keeps its own permissions.
  Acl some_acl_for(const Node& node);
  /// A new node that `caller` makes in `dir`, asking for `mode`.
  NodePtr new_node(const Caller& caller, const Node& dir, mode_t mode);

  // ---- comparing ----
  void expect(int got, int wanted) const;
  void check(Node& node, const Result<struct stat>& st) const;
  void check_content(const Node& node) const;
  void check_xattrs(const Node& node) const;
  void check_data(const Node& node) const;
  void compare_dir(const NodePtr& dir);

  // ---- operations ----
  struct Operation;
  static const std::array<Operation, 19> kOperations;
  void look();
  void look_at_some();
  void forget_some();
  void make();
  void tmpfile();
  void link();
  void unlink();
  void rmdir();
  void rename();
  void read();
  void write();
  void set_attr();
  void allocate();
  void copy();
  void xattr();
  void acl();
  void set_acl(Node& node, const std::string& name);
  void project();
  void list();
  void write_back();

  const Powers powers_;
  const std::uint32_t first_project_;
  bool listing_ = false;
  NodePtr listed_;  ///< not forgotten while it is listed
};

}  // namespace troot::tests
