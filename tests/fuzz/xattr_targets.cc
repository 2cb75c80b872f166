// Fuzzing what the union reads from xattrs.
#include <sys/sysmacros.h>

#include "fusefs/disk/acl.h"
#include "fusefs/disk/format.h"
#include "fuzz/target.h"

namespace troot::fuzz {

using namespace fusefs;

void override_stat(std::string_view bytes) {
  const auto read = parse_override(bytes);
  if (!read) return;
  must((read->mode & 07777) == (read->mode & ~static_cast<mode_t>(S_IFMT)));
  must(read->has_type == ((read->mode & S_IFMT) != 0));
  must(parse_override(encode_override(*read)) == read);
}

void project(std::string_view bytes) {
  const auto read = parse_project(bytes);
  if (!read) return;
  const auto again = parse_project(encode_project(*read));
  must(again && again->project == read->project && again->inherit == read->inherit);
}

void ranges(std::string_view bytes) {
  const auto read = parse_alloc(bytes);
  if (!read) return;
  for (const auto* list : {&read->ranges, &read->maybe}) {
    must(list->size() <= kMaxRanges);
    std::int64_t pages = 0, last = 0;
    for (const PageRange& r : *list) {
      must(r.first >= last && r.count > 0);
      must(!__builtin_add_overflow(pages, r.count, &pages));
      last = r.end();
    }
    // What is charged for them must be a number of bytes.
    must(!__builtin_mul_overflow(pages, std::int64_t{4096}, &pages));
  }
  must(parse_alloc(encode_alloc(*read)) == read);
}

void redirect(std::string_view bytes) {
  if (bytes.size() > kMaxRedirect) must(!parse_redirect(bytes));
  const auto read = parse_redirect(bytes, kLongRedirect);
  if (!read) return;
  must(!read->path.empty() && read->path.size() <= kLongRedirect);
  must(read->path.find('\0') == std::string::npos);
  must(read->absolute || read->path.find('/') == std::string::npos);
  must(("/" + read->path + "/").find("/../") == std::string::npos);
  must(("/" + read->path + "/").find("/./") == std::string::npos);
  must(("/" + read->path + "/").find("//") == std::string::npos);
  const std::string again = (read->absolute ? "/" : "") + read->path;
  must(again == bytes);
}

void origin(std::string_view bytes) {
  if (const auto read = parse_u64(bytes)) must(parse_u64(encode_u64(*read)) == read);
}

void index(std::string_view bytes) {
  const auto read = parse_index(bytes);
  if (!read) return;
  must(!read->name.empty() && read->name.find('/') == std::string::npos);
  must(read->name.find('\0') == std::string::npos);
  const auto again = parse_index(encode_index(*read));
  must(again && again->name == read->name && again->nlink == read->nlink &&
       again->relative == read->relative);
}

void link_record(std::string_view bytes) {
  const auto read = parse_link(bytes);
  if (!read) return;
  const auto again = parse_link(encode_link(*read));
  must(again && again->has_owner == read->has_owner && again->owner == read->owner &&
       again->origin == read->origin && again->project.has_value() == read->project.has_value());
}

void acl(std::string_view bytes) {
  const auto mode = acl_mode(bytes);
  const auto same = acl_with_ids(bytes, [](std::uint32_t id) { return id; });
  must(mode.has_value() == same.has_value());
  (void)acl_is_minimal(bytes);
  const auto inherited = inherit_acl(bytes, 0640);
  must(inherited.has_value() == mode.has_value());
  if (!mode) return;
  must(*same == bytes && *mode <= 0777);
  for (const mode_t wanted : {0U, 0640U, 0777U}) {
    const auto changed = acl_with_mode(bytes, wanted);
    must(changed && acl_mode(*changed) == wanted);
  }
  must((inherited->mode & ~static_cast<mode_t>(0640)) == 0);
  must(inherited->access.empty() || acl_mode(inherited->access) == inherited->mode);
}

}  // namespace troot::fuzz
