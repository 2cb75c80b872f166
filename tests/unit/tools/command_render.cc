// The command's tables, bars and colours.
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
