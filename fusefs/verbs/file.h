// The operations on data and attributes, as fusefs/overlay.h has them, over a State.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <span>
#include <string>
#include <string_view>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

// file.cc
[[nodiscard]] Result<std::size_t> read_file(State& state, NodeId id, off_t offset,
                                            std::span<std::byte> into);
[[nodiscard]] Result<Written> write_file(State& state, const Caller& caller, NodeId id,
                                         off_t offset, std::span<const std::byte> from,
                                         WriteMode mode);
// extent.cc
[[nodiscard]] Status allocate_file(State& state, const Caller& caller, NodeId id, int mode,
                                   off_t offset, off_t length);
[[nodiscard]] Result<off_t> seek_file(State& state, NodeId id, off_t offset, int whence);
[[nodiscard]] Result<std::size_t> copy_file(State& state, const Caller& caller, NodeId from,
                                            off_t from_offset, NodeId to, off_t to_offset,
                                            std::size_t length);
// sync.cc
[[nodiscard]] Status sync_file(State& state, NodeId id, bool data_only);
// open_file.cc
[[nodiscard]] Result<OpenFile> open_file(State& state, NodeId id, Access access);
[[nodiscard]] Status close_file(State& state, NodeId id);
[[nodiscard]] Result<Fd> sample_file(State& state);
// setattr.cc
[[nodiscard]] Result<struct stat> set_attr(State& state, const Caller& caller, NodeId id,
                                           const SetAttr& set);
// xattr.cc
[[nodiscard]] Result<std::string> get_shown_xattr(State& state, NodeId id, std::string_view name);
[[nodiscard]] Result<std::string> list_shown_xattrs(State& state, NodeId id);
[[nodiscard]] Status set_shown_xattr(State& state, const Caller& caller, NodeId id,
                                     std::string_view name, std::string_view value, int flags);
[[nodiscard]] Status remove_shown_xattr(State& state, const Caller& caller, NodeId id,
                                        std::string_view name);
// project.cc
[[nodiscard]] Result<ProjectAttr> get_project(State& state, NodeId id);
[[nodiscard]] Status set_project(State& state, const Caller& caller, NodeId id,
                                 const ProjectAttr& attr);
[[nodiscard]] Result<struct statvfs> stat_fs(State& state, NodeId id);

}  // namespace troot::fusefs
