// The operations of the union, each by the name that fusefs/overlay.h has for it, over its state.
// What holds for the methods there (threads, locks, errnos) holds here.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <span>
#include <string>
#include <string_view>

#include "fusefs/tree/state.h"

namespace troot::fusefs::verbs {

// readdir.cc
[[nodiscard]] Result<Entry> lookup(State& state, NodeId parent, std::string_view name);
[[nodiscard]] Status readdir(State& state, NodeId id, std::uint64_t cookie, DirMode mode,
                             const DirSink& sink);
// create.cc
[[nodiscard]] Result<Entry> mknod(State& state, const Caller& caller, NodeId parent,
                                  std::string_view name, mode_t mode, dev_t rdev);
[[nodiscard]] Result<Entry> mkdir(State& state, const Caller& caller, NodeId parent,
                                  std::string_view name, mode_t mode);
[[nodiscard]] Result<Entry> symlink(State& state, const Caller& caller, NodeId parent,
                                    std::string_view name, std::string_view target);
[[nodiscard]] Result<Entry> tmpfile(State& state, const Caller& caller, NodeId parent, mode_t mode);
// link.cc
[[nodiscard]] Result<Entry> link(State& state, const Caller& caller, NodeId id, NodeId new_parent,
                                 std::string_view name);
// remove.cc
[[nodiscard]] Status unlink(State& state, NodeId parent, std::string_view name);
[[nodiscard]] Status rmdir(State& state, NodeId parent, std::string_view name);
// rename.cc
[[nodiscard]] Status rename(State& state, const Caller& caller, NodeId parent,
                            std::string_view name, NodeId new_parent, std::string_view new_name,
                            unsigned flags);

// getattr.cc
void forget(State& state, NodeId id, std::uint64_t lookups) noexcept;
[[nodiscard]] Result<struct stat> getattr(State& state, NodeId id);
[[nodiscard]] Result<std::string> readlink(State& state, NodeId id);
[[nodiscard]] Result<struct statvfs> statfs(State& state, NodeId id);
// setattr.cc
[[nodiscard]] Result<struct stat> setattr(State& state, const Caller& caller, NodeId id,
                                          const SetAttr& set);
// xattr.cc
[[nodiscard]] Result<std::string> getxattr(State& state, NodeId id, std::string_view name);
[[nodiscard]] Result<std::string> listxattr(State& state, NodeId id);
[[nodiscard]] Status setxattr(State& state, const Caller& caller, NodeId id, std::string_view name,
                              std::string_view value, int flags);
[[nodiscard]] Status removexattr(State& state, const Caller& caller, NodeId id,
                                 std::string_view name);
// project.cc
[[nodiscard]] Result<ProjectAttr> project(State& state, NodeId id);
[[nodiscard]] Status set_project(State& state, const Caller& caller, NodeId id,
                                 const ProjectAttr& attr);

// data.cc
[[nodiscard]] Result<std::size_t> read(State& state, NodeId id, off_t offset,
                                       std::span<std::byte> into);
[[nodiscard]] Result<Written> write(State& state, const Caller& caller, NodeId id, off_t offset,
                                    std::span<const std::byte> from, WriteMode mode);
[[nodiscard]] Result<off_t> lseek(State& state, NodeId id, off_t offset, int whence);
// fallocate.cc
[[nodiscard]] Status fallocate(State& state, const Caller& caller, NodeId id, int mode,
                               off_t offset, off_t length);
[[nodiscard]] Result<std::size_t> copy_file_range(State& state, const Caller& caller, NodeId from,
                                                  off_t from_offset, NodeId to, off_t to_offset,
                                                  std::size_t length);
// sync.cc
[[nodiscard]] Status fsync(State& state, NodeId id, bool data_only);
[[nodiscard]] Status fsyncdir(State& state, NodeId id, bool data_only);
// open_file.cc
[[nodiscard]] Result<OpenFile> open_file(State& state, NodeId id, Access access);
[[nodiscard]] Status close_file(State& state, NodeId id);
[[nodiscard]] bool times_move_unseen(const State& state, NodeId id) noexcept;
[[nodiscard]] Result<Fd> sample_file(State& state);

}  // namespace troot::fusefs::verbs
