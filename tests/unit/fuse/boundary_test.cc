// What it proves: the parts of the FUSE boundary that need no mount: what is read from a raw
// request, where its answer goes, the start for a world, and when a reader spins.
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "fusefs/launch/handover.h"
#include "fusefs/serve/cpu_list.h"
#include "fusefs/serve/device.h"
#include "fusefs/serve/request.h"
#include "fusefs/serve/spin.h"
#include "unit/catch.h"

using namespace troot::fusefs;
using namespace std::chrono_literals;

namespace {

template <typename Argument>
std::vector<std::byte> request(std::uint32_t opcode, const Argument& argument) {
  fuse_in_header header{};
  header.opcode = opcode;
  header.unique = 77;
  header.len = sizeof(header) + sizeof(argument);
  std::vector<std::byte> bytes(header.len);
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), &argument, sizeof(argument));
  return bytes;
}

struct Sockets {
  explicit Sockets(int type) {
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) == 0);
  }
  ~Sockets() {
    close_ours();
    ::close(ends[0]);
  }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  void close_ours() {
    if (ends[1] >= 0) ::close(ends[1]);
    ends[1] = -1;
  }
  [[nodiscard]] int server() const { return ends[0]; }
  [[nodiscard]] int ours() const { return ends[1]; }
  std::array<int, 2> ends{-1, -1};
};

void send_descriptors(int socket, const std::vector<int>& fds) {
  char byte = 'm';
  iovec iov{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* const c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  REQUIRE(::sendmsg(socket, &message, 0) == 1);
}

}  // namespace

TEST_CASE("a request tells what libfuse hides") {
  fuse_write_in write{};
  write.write_flags = FUSE_WRITE_CACHE;
  auto info = peek(request(FUSE_WRITE, write), 5);
  CHECK(info.unique == 77);
  CHECK(info.fd == 5);
  CHECK(info.from_mapping);
  CHECK_FALSE(info.kill_suidgid);
  write.write_flags = FUSE_WRITE_KILL_SUIDGID;
  info = peek(request(FUSE_WRITE, write), 5);
  CHECK_FALSE(info.from_mapping);
  CHECK(info.kill_suidgid);

  fuse_setattr_in setattr{};
  setattr.valid = FATTR_SIZE | FATTR_KILL_SUIDGID;
  CHECK(peek(request(FUSE_SETATTR, setattr), 5).kill_suidgid);

  fuse_read_in read{};
  read.size = 131072;
  CHECK(peek(request(FUSE_READ, read), 5).read_bytes == 131072);
  CHECK(peek(request(FUSE_WRITE, write), 5).read_bytes == 0);

  fuse_init_in init{};
  init.flags = FUSE_HANDLE_KILLPRIV_V2;
  init.flags2 = 1;
  CHECK(peek(request(FUSE_INIT, init), 5).init_flags ==
        (FUSE_HANDLE_KILLPRIV_V2 | std::uint64_t{1} << 32));
  CHECK(kind_of(peek(request(FUSE_BATCH_FORGET, init), 5)) == RequestKind::kForget);
  CHECK(kind_of(peek(request(FUSE_FSYNC, init), 5)) == RequestKind::kLong);
}

TEST_CASE("a request cut short tells nothing and harms nothing") {
  fuse_write_in write{};
  write.write_flags = FUSE_WRITE_CACHE;
  const auto whole = request(FUSE_WRITE, write);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK_FALSE(peek(std::span(whole).first(size), 5).from_mapping);
  }
}

TEST_CASE("a request that libfuse does not know is shown as one that it does") {
  const auto shown = [](std::uint32_t opcode) {
    auto bytes = request(opcode, fuse_copy_file_range_in{});
    const auto before = bytes;
    show_as_known(peek(bytes, 5), bytes);
    fuse_in_header header{};
    std::memcpy(&header, bytes.data(), sizeof(header));
    CHECK(std::equal(bytes.begin() + 8, bytes.end(), before.begin() + 8));
    return header.opcode;
  };
  constexpr std::uint32_t kTmpfile = 51, kCopyFileRange64 = 53;
  CHECK(shown(kTmpfile) == FUSE_CREATE);
  if constexpr (std::endian::native == std::endian::little)
    CHECK(shown(kCopyFileRange64) == FUSE_COPY_FILE_RANGE);
  CHECK(shown(FUSE_WRITE) == FUSE_WRITE);
}

TEST_CASE("the served request is the thread's own, and comes back after one inside it") {
  CHECK(current_request().fd == -1);
  {
    const ServingRequest outer(RequestInfo{FUSE_WRITE, 1, 0, true, false, 5});
    {
      const ServingRequest inner(RequestInfo{FUSE_FORGET, 2, 0, false, false, 6});
      CHECK(current_request().fd == 6);
    }
    CHECK(current_request().fd == 5);
    CHECK(current_request().from_mapping);
  }
  CHECK(current_request().fd == -1);
}

TEST_CASE("an answer goes to where its request came from") {
  struct Sink final : ReplySink {
    ssize_t reply(const iovec* iov, int count) noexcept override {
      answers += 1;
      return static_cast<ssize_t>(iov[0].iov_len) * count;
    }
    std::span<std::byte> room() noexcept override { return {}; }
    int answers = 0;
  } sink;
  const Sockets sockets(SOCK_SEQPACKET);
  const auto& ends = sockets.ends;
  {
    Device device(ends[0], ::dup(ends[0]));
    RequestInfo info;
    info.fd = ends[0];
    info.unique = 42;
    const auto answer = [&](std::uint64_t unique) {
      fuse_out_header header{sizeof header, 0, unique};
      const iovec iov{&header, sizeof header};
      const ServingRequest serving(info);
      return device.reply(&iov, 1);
    };
    std::array<std::byte, 64> read{};
    CHECK(answer(42) == sizeof(fuse_out_header));
    CHECK(::read(ends[1], read.data(), read.size()) == sizeof(fuse_out_header));
    info.sink = &sink;
    CHECK(answer(42) == sizeof(fuse_out_header));
    CHECK(sink.answers == 1);
    CHECK(::recv(ends[1], read.data(), read.size(), MSG_DONTWAIT) == -1);
    // libfuse says so of an INTERRUPT that it could not place, in the midst of another request.
    CHECK(answer(43) == sizeof(fuse_out_header));
    CHECK(sink.answers == 1);
    CHECK(::read(ends[1], read.data(), read.size()) == sizeof(fuse_out_header));
  }
}

TEST_CASE("what libfuse cannot say is added to the answer to INIT, by what the kernel offers") {
  constexpr std::uint64_t kRings = std::uint64_t{1} << 41;
  const auto negotiated = [](std::uint64_t offers) {
    const Sockets sockets(SOCK_SEQPACKET);
    const auto& ends = sockets.ends;
    fuse_init_out out{};
    {
      Device device(ends[0], ::dup(ends[0]));
      device.amend = [](std::uint64_t offered, fuse_init_out& reply) {
        if ((offered & kRings) != 0) accept_offer(reply, kRings);
      };
      RequestInfo info;
      info.fd = ends[0];
      info.opcode = FUSE_INIT;
      info.init_flags = offers;
      fuse_out_header header{sizeof header + sizeof out, 0, 0};
      const iovec iov[] = {{&header, sizeof header}, {&out, sizeof out}};
      const ServingRequest serving(info);
      CHECK(device.reply(iov, 2) == sizeof header + sizeof out);
    }
    std::array<std::byte, 256> read{};
    CHECK(::read(ends[1], read.data(), read.size()) == sizeof(fuse_out_header) + sizeof out);
    std::memcpy(&out, read.data() + sizeof(fuse_out_header), sizeof out);
    const std::uint64_t flags = out.flags | std::uint64_t{out.flags2} << 32;
    return std::pair{(flags & kRings) != 0, (flags & FUSE_INIT_EXT) != 0};
  };
  CHECK(negotiated(kRings | FUSE_INIT_EXT) == std::pair{true, true});
  CHECK(negotiated(FUSE_INIT_EXT) == std::pair{false, false});
}

TEST_CASE("lists of processors") {
  using List = std::vector<unsigned>;
  CHECK(parse_cpu_list("0") == List{0});
  CHECK(parse_cpu_list("0-3\n") == List{0, 1, 2, 3});
  CHECK(parse_cpu_list("0-1,4,6-7") == List{0, 1, 4, 6, 7});
  for (const char* wrong :
       {"", "\n", "a", "1-", "-1", "3-1", "0,0", "2,1", "0-99999999", "0x1", " 0", "0,"})
    CHECK(parse_cpu_list(wrong).empty());
}

TEST_CASE("a world's start: a line, then one or two descriptors") {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const Sockets sockets(type);
    REQUIRE(announce_ready(sockets.server()));
    std::array<char, 64> line{};
    CHECK(::recv(sockets.ours(), line.data(), line.size(), 0) == 6);
    CHECK(std::string(line.data()) == "ready\n");
    for (const std::size_t count : {1u, 2u}) {
      send_descriptors(sockets.ours(), std::vector<int>(count, STDIN_FILENO));
      const auto got = receive_descriptors(sockets.server());
      REQUIRE(got);
      REQUIRE(*got);
      CHECK((*got)->fuse >= 0);
      CHECK(((*got)->clone >= 0) == (count == 2));
      ::close((*got)->fuse);
      if (count == 2) ::close((*got)->clone);
    }
  }
}

TEST_CASE("a world's start that goes wrong") {
  Sockets sockets(SOCK_STREAM);
  for (const std::size_t count : {0u, 3u}) {
    send_descriptors(sockets.ours(), std::vector<int>(count, STDIN_FILENO));
    const auto got = receive_descriptors(sockets.server());
    REQUIRE_FALSE(got);
    CHECK(got.error() == EPROTO);
  }
  REQUIRE(announce_error(sockets.server(), "two\nlines"));
  std::array<char, 64> line{};
  CHECK(::recv(sockets.ours(), line.data(), line.size(), 0) == 16);
  CHECK(std::string(line.data()) == "error two lines\n");
  sockets.close_ours();
  const auto got = receive_descriptors(sockets.server());
  REQUIRE(got);
  CHECK_FALSE(*got);
  const auto told = announce_ready(sockets.server());
  REQUIRE_FALSE(told);
  CHECK(told.error() == EPIPE);
}

TEST_CASE("a reader spins only while that pays") {
  const auto now = SpinGovernor::Clock::now();
  std::chrono::nanoseconds waited = 0ns;
  const auto told = [&waited] { return waited; };
  SpinGovernor governor(2, told);
  CHECK(governor.allowance(now) == 0ns);
  for (int i = 0; i < 3; ++i) governor.woke(20us);
  governor.woke(1s);  // a pause: the count begins anew
  for (int i = 0; i < 3; ++i) governor.woke(20us);
  CHECK(governor.allowance(now) == 0ns);
  governor.woke(20us);
  CHECK(governor.allowance(now) > 0ns);
  for (int i = 0; i < 100; ++i) governor.caught();
  for (int i = 0; i < 7; ++i) governor.missed();
  CHECK(governor.allowance(now) > 0ns);
  for (int i = 0; i < 7; ++i) governor.missed();
  CHECK(governor.allowance(now) == 0ns);

  SpinGovernor alone(1, told);
  for (int i = 0; i < 10; ++i) alone.woke(20us);
  CHECK(alone.allowance(now) == 0ns);
  SpinGovernor blind(2, [] { return -1ns; });
  for (int i = 0; i < 10; ++i) blind.woke(20us);
  CHECK(blind.allowance(now) == 0ns);
}

TEST_CASE("a reader that has to wait for a CPU leaves it to others, longer each time") {
  auto now = SpinGovernor::Clock::now();
  std::chrono::nanoseconds waited = 7s;
  SpinGovernor governor(2, [&waited] { return waited; });
  for (int i = 0; i < 4; ++i) governor.woke(20us);
  const auto after = [&](auto time, auto lost) {
    now += time;
    waited += lost;
    return governor.allowance(now) > 0ns;
  };
  CHECK(after(5ms, 0ms));
  // Somebody was there for a moment: a timer, a thread that woke and slept.
  CHECK(after(5ms, 200us));
  CHECK_FALSE(after(5ms, 3ms));
  CHECK_FALSE(after(15ms, 0ms));
  CHECK(after(10ms, 0ms));
  CHECK_FALSE(after(6ms, 3ms));
  CHECK_FALSE(after(30ms, 0ms));
  CHECK(after(15ms, 0ms));
  // A wait before it spun at all, or long ago, says nothing.
  CHECK(after(10s, 1s));
}

TEST_CASE("how long a thread waited for a CPU is told by the kernel") {
  CpuWait wait;
  const auto first = wait();
  CHECK(first >= 0ns);
  CHECK(wait() >= first);
}
