// The encodings of quota/format.h.
#include "quota/format.h"

namespace troot::quota::format {
namespace {

constexpr std::uint8_t kHasGrace = 1;
constexpr std::uint8_t kHasParent = 2;
/// What was said of inodes without a limit of them; neither bit: nothing.
constexpr std::uint8_t kInodesNone = 4;
constexpr std::uint8_t kInodesDerived = 8;
constexpr std::uint8_t kAllFlags = kHasGrace | kHasParent | kInodesNone | kInodesDerived;

std::uint8_t flag_of(InodeRule rule) {
  if (rule == InodeRule::kUnsaid) return 0;
  return rule == InodeRule::kNone ? kInodesNone : kInodesDerived;
}

InodeRule rule_of(std::uint8_t flags) {
  if ((flags & kInodesDerived) != 0) return InodeRule::kDerived;
  return (flags & kInodesNone) != 0 ? InodeRule::kNone : InodeRule::kUnsaid;
}

class Writer {
 public:
  template <typename T>
  Writer& put(T value) {
    const auto bits = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(static_cast<char>(bits >> (8 * i)));
    return *this;
  }
  /// Most significant byte first: keys sort as their numbers do.
  template <typename T>
  Writer& put_sorted(T value) {
    const auto bits = static_cast<std::uint64_t>(value);
    for (std::size_t i = sizeof(T); i-- > 0;) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
    return *this;
  }
  Writer& put_text(std::string_view text) {
    put(static_cast<std::uint16_t>(text.size()));
    bytes_.append(text);
    return *this;
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads past the end yield zeros and make done() false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <typename T>
  [[nodiscard]] T get() {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) bits |= std::uint64_t{next()} << (8 * i);
    return static_cast<T>(bits);
  }
  template <typename T>
  [[nodiscard]] T get_sorted() {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) bits = bits << 8 | next();
    return static_cast<T>(bits);
  }
  [[nodiscard]] std::string get_text() {
    const std::size_t size = get<std::uint16_t>();
    if (size > bytes_.size()) {
      short_ = true;
      return {};
    }
    std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }
  [[nodiscard]] bool complete() const { return !short_; }
  /// Exactly all bytes were read.
  [[nodiscard]] bool done() const { return !short_ && bytes_.empty(); }

 private:
  std::uint8_t next() {
    if (bytes_.empty()) {
      short_ = true;
      return 0;
    }
    const auto byte = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }
  std::string_view bytes_;
  bool short_ = false;
};

/// A record that is nothing but the numbers `words`, in that order.
template <typename Record, typename... Word>
std::string encode_words(const Record& record, Word Record::*... words) {
  Writer writer;
  (writer.put(record.*words), ...);
  return writer.take();
}

template <typename Record, typename... Word>
std::optional<Record> decode_words(std::string_view bytes, Word Record::*... words) {
  Reader reader(bytes);
  Record record;
  ((record.*words = reader.get<Word>()), ...);
  if (!reader.done()) return std::nullopt;
  return record;
}

}  // namespace

std::string inode_key(const InodeKey& key) {
  Writer writer;
  writer.put(kInodeSpace).put_sorted(key.ino).put_sorted(key.birth_ns);
  return writer.take();
}

std::string session_key(std::uint32_t session) {
  Writer writer;
  writer.put(kSessionSpace).put_sorted(session);
  return writer.take();
}

std::string project_key(ProjId id) {
  Writer writer;
  writer.put(kProjectSpace).put_sorted(to_u32(id));
  return writer.take();
}

std::optional<InodeKey> parse_inode_key(std::string_view bytes) {
  Reader reader(bytes);
  if (reader.get<char>() != kInodeSpace) return std::nullopt;
  InodeKey key;
  key.ino = reader.get_sorted<std::uint64_t>();
  key.birth_ns = reader.get_sorted<std::int64_t>();
  if (!reader.done()) return std::nullopt;
  return key;
}

std::optional<ProjId> parse_project_key(std::string_view bytes) {
  Reader reader(bytes);
  if (reader.get<char>() != kProjectSpace) return std::nullopt;
  const ProjId id{reader.get_sorted<std::uint32_t>()};
  if (!reader.done()) return std::nullopt;
  return id;
}

std::string encode(const InodeRecord& record) {
  Writer writer;
  writer.put(to_u32(record.project)).put(record.bytes);
  return writer.take();
}

std::optional<InodeRecord> decode_inode(std::string_view bytes) {
  Reader reader(bytes);
  InodeRecord record;
  record.project = ProjId{reader.get<std::uint32_t>()};
  record.bytes = reader.get<std::int64_t>();
  // One below zero is wrong, and read all the same: a check finds it, and mends it.
  if (!reader.done()) return std::nullopt;
  return record;
}

std::string encode(const ProjectRecord& record) {
  const ProjectReport& report = record.state.report;
  const Grace grace = record.state.grace.value_or(Grace{0, 0});
  const auto flags = static_cast<std::uint8_t>((record.state.grace ? kHasGrace : 0) |
                                               (record.state.parent ? kHasParent : 0) |
                                               flag_of(report.limits.inode_rule));
  Writer writer;
  writer.put(flags).put(record.own.bytes).put(record.own.inodes);
  writer.put(report.limits.bytes.soft).put(report.limits.bytes.hard);
  writer.put(report.limits.inodes.soft).put(report.limits.inodes.hard);
  writer.put(grace.bytes_s).put(grace.inodes_s);
  writer.put(to_u32(record.state.parent.value_or(kDefaultProject)));
  writer.put(report.bytes_timer).put(report.inodes_timer);
  writer.put(report.peak.bytes).put(report.peak.inodes);
  writer.put(report.failcnt).put(report.margin_bytes);
  return writer.take();
}

std::optional<ProjectRecord> decode_project(ProjId id, std::string_view bytes) {
  Reader reader(bytes);
  ProjectRecord record;
  ProjectReport& report = record.state.report;
  report.id = id;
  const auto flags = reader.get<std::uint8_t>();
  record.own.bytes = reader.get<std::int64_t>();
  record.own.inodes = reader.get<std::int64_t>();
  report.limits.bytes.soft = reader.get<std::uint64_t>();
  report.limits.bytes.hard = reader.get<std::uint64_t>();
  report.limits.inodes.soft = reader.get<std::uint64_t>();
  report.limits.inodes.hard = reader.get<std::uint64_t>();
  Grace grace;
  grace.bytes_s = reader.get<Seconds>();
  grace.inodes_s = reader.get<Seconds>();
  const ProjId parent{reader.get<std::uint32_t>()};
  report.bytes_timer = reader.get<Seconds>();
  report.inodes_timer = reader.get<Seconds>();
  report.peak.bytes = reader.get<std::int64_t>();
  report.peak.inodes = reader.get<std::int64_t>();
  report.failcnt = reader.get<std::uint64_t>();
  report.margin_bytes = reader.get<std::int64_t>();
  if (!reader.done() || (flags & ~kAllFlags) != 0) return std::nullopt;
  if ((flags & kInodesNone) != 0 && (flags & kInodesDerived) != 0) return std::nullopt;
  report.limits.inode_rule = rule_of(flags);
  if ((flags & kHasGrace) != 0) record.state.grace = grace;
  if ((flags & kHasParent) != 0) record.state.parent = parent;
  return record;
}

std::string encode(const Batch& batch) {
  return encode_words(batch, &Batch::number, &Batch::oldest_session, &Batch::session);
}

std::optional<Batch> decode_batch(std::string_view bytes) {
  return decode_words(bytes, &Batch::number, &Batch::oldest_session, &Batch::session);
}

std::string encode(const Session& session) {
  return encode_words(session, &Session::before, &Session::last);
}

std::optional<Session> decode_session(std::string_view bytes) {
  return decode_words(bytes, &Session::before, &Session::last);
}

std::string encode(const Meta& meta) {
  Writer writer;
  writer.put(meta.version).put(static_cast<std::uint8_t>(meta.mark));
  writer.put_text(meta.upper_uuid).put_text(meta.boot_id);
  return writer.take();
}

std::optional<Meta> decode_meta(std::string_view bytes) {
  Reader reader(bytes);
  Meta meta;
  meta.version = reader.get<std::uint32_t>();
  if (!reader.complete() || meta.version == 0) return std::nullopt;
  if (meta.version > kVersion) return meta;
  const auto mark = reader.get<std::uint8_t>();
  meta.upper_uuid = reader.get_text();
  meta.boot_id = reader.get_text();
  if (!reader.done() || mark > static_cast<std::uint8_t>(Mark::kClean)) return std::nullopt;
  meta.mark = static_cast<Mark>(mark);
  return meta;
}

}  // namespace troot::quota::format
