// What owns it: the operations on data and attributes, as fusefs/overlay.h has them, over a Core.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <span>
#include <string>
#include <string_view>

#include "fusefs/tree/state.h"

namespace troot::fusefs {

// file.cc
[[nodiscard]] Result<std::size_t> read_file(Core& core, NodeId id, off_t offset,
                                            std::span<std::byte> into);
[[nodiscard]] Result<Written> write_file(Core& core, const Caller& caller, NodeId id, off_t offset,
                                         std::span<const std::byte> from, WriteMode mode);
// extent.cc
[[nodiscard]] Status allocate_file(Core& core, const Caller& caller, NodeId id, int mode,
                                   off_t offset, off_t length);
[[nodiscard]] Result<off_t> seek_file(Core& core, NodeId id, off_t offset, int whence);
[[nodiscard]] Result<std::size_t> copy_file(Core& core, const Caller& caller, NodeId from,
                                            off_t from_offset, NodeId to, off_t to_offset,
                                            std::size_t length);
// sync.cc
[[nodiscard]] Status sync_file(Core& core, NodeId id, bool data_only);
// open_file.cc
[[nodiscard]] Result<OpenFile> open_file(Core& core, NodeId id, Access access);
[[nodiscard]] Status close_file(Core& core, NodeId id);
[[nodiscard]] Result<Fd> sample_file(Core& core);
// setattr.cc
[[nodiscard]] Result<struct stat> set_attr(Core& core, const Caller& caller, NodeId id,
                                           const SetAttr& set);
// xattr.cc
[[nodiscard]] Result<std::string> get_shown_xattr(Core& core, NodeId id, std::string_view name);
[[nodiscard]] Result<std::string> list_shown_xattrs(Core& core, NodeId id);
[[nodiscard]] Status set_shown_xattr(Core& core, const Caller& caller, NodeId id,
                                     std::string_view name, std::string_view value, int flags);
[[nodiscard]] Status remove_shown_xattr(Core& core, const Caller& caller, NodeId id,
                                        std::string_view name);
// project.cc
[[nodiscard]] Result<ProjectAttr> get_project(Core& core, NodeId id);
[[nodiscard]] Status set_project(Core& core, const Caller& caller, NodeId id,
                                 const ProjectAttr& attr);
[[nodiscard]] Result<struct statvfs> stat_fs(Core& core, NodeId id);

}  // namespace troot::fusefs
