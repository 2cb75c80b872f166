// The command's tables, bars, colours and progress.
#include "tools/troot/text/progress.h"
#include "tools/troot/text/render.h"
#include "unit/catch.h"

using namespace troot::cli;

TEST_CASE("a table aligns its columns and leaves no blanks at the ends of lines") {
  CHECK(table({{"NAME"}, {"USED", Align::kRight}, {"STATE"}},
              {{"w1", "300M", "running"}, {"longer", "4K", "stopped"}}) ==
        "NAME    USED  STATE\nw1      300M  running\nlonger    4K  stopped\n");
  CHECK(table({{"A"}, {"LONG"}}, {{"x", ""}}) == "A  LONG\nx\n");
  CHECK(table({{"A"}}, {}) == "A\n");
}

TEST_CASE("a bar is full at the limit and beyond, and only there") {
  CHECK(bar(0, 100, 10) == "[----------]");
  CHECK(bar(50, 100, 10) == "[#####-----]");
  CHECK(bar(99, 100, 10) == "[#########-]");
  CHECK(bar(100, 100, 10) == "[##########]");
  CHECK(bar(150, 100, 10) == "[##########]");
}

TEST_CASE("colour only where it is asked for") {
  set_color("never");
  CHECK(tinted(Tone::kBad, "x") == "x");
  set_color("always");
  CHECK(tinted(Tone::kBad, "x") == "\033[31mx\033[0m");
  set_color("never");
}

TEST_CASE("progress tells rate and time left, where the whole is known") {
  using std::chrono::milliseconds;
  CHECK(progress_text("x.tar", 50 << 20, 100 << 20, milliseconds(2000)) ==
        "x.tar: 50% of 100M, 25M/s, 2 s left");
  CHECK(progress_text("-", 50 << 20, std::nullopt, milliseconds(2000)) == "-: 50M, 25M/s");
  CHECK(progress_text("x", 1 << 20, 600 << 20, milliseconds(1000)) ==
        "x: 0% of 600M, 1M/s, 9 min left");
  // A file that grows meanwhile, the first moment, the end of all numbers.
  CHECK(progress_text("x", 200, 100, milliseconds(1000)) == "x: 100% of 200, 200/s, 0 s left");
  CHECK(progress_text("x", 0, 100, milliseconds(0)) == "x: 0% of 100, 0/s");
  CHECK(progress_text("x", UINT64_MAX, UINT64_MAX, milliseconds(1000)).find("100%") !=
        std::string::npos);
}
