// A union with a control socket, as the tests of the socket share it.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "fusefs/control/server.h"
#include "fusefs/control/socket.h"
#include "fusefs/overlay.h"
#include "unit/catch.h"

namespace troot::fusefs {

/// A union over empty directories with a limit of 1 MiB, and its control socket at `path`.
class Served {
 public:
  explicit Served(const std::string& name = "control") {
    std::string form = "/tmp/control_test.XXXXXX";
    REQUIRE(::mkdtemp(form.data()));
    top = form;
    Config config;
    for (const char* directory : {"l", "u", "w"})
      std::filesystem::create_directory(top + "/" + directory);
    config.lowers = {top + "/l"};
    config.upper = top + "/u";
    config.work = top + "/w";
    config.size_bytes = 1u << 20;
    auto opened = Overlay::open(config);
    INFO((opened ? std::string() : opened.error().message));
    REQUIRE(opened);
    overlay = std::move(*opened);
    path = top + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    auto started =
        ControlServer::start(path, {*overlay, requests, config.upper}, [this] { ++quits; });
    REQUIRE(started);
    server = std::move(*started);
  }
  ~Served() {
    server.reset();
    CHECK(overlay->close());
    std::filesystem::remove_all(top);
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  [[nodiscard]] ControlReply ask(const std::string& request) const {
    const auto reply = control_request(path, request);
    INFO(request << ": " << (reply ? 0 : reply.error().value()));
    REQUIRE(reply);
    return *reply;
  }
  /// Sends raw bytes and reads what comes until the server closes or `expected` arrived.
  [[nodiscard]] std::string raw(const std::string& bytes, const std::string& expected) const {
    const auto fd = connect_socket(path);
    REQUIRE(fd);
    (void)::send(*fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    std::string got;
    char piece[512];
    for (ssize_t n = 0; got.find(expected) == std::string::npos &&
                        (n = ::recv(*fd, piece, sizeof(piece), 0)) > 0;) {
      got.append(piece, static_cast<std::size_t>(n));
    }
    ::close(*fd);
    return got;
  }

  std::string top;
  std::string path;
  std::unique_ptr<Overlay> overlay;
  RequestCounts requests;
  std::unique_ptr<ControlServer> server;
  std::atomic<int> quits{0};
};

}  // namespace troot::fusefs
