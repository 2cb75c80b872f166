// The command's pure parts that read and write text: amounts, names, subordinate ids,
// options, passwd lines.
#include <string>
#include <string_view>
#include <vector>

#include "fusefs/launch/options.h"
#include "tools/troot/sandbox/environment.h"
#include "tools/troot/sandbox/provision.h"
#include "tools/troot/sandbox/subid.h"
#include "tools/troot/text/size.h"
#include "tools/troot/world/name.h"
#include "tools/troot/world/server.h"
#include "unit/catch.h"

using namespace troot::cli;

TEST_CASE("sizes are powers of 1024, with or without a fraction") {
  const std::vector<std::pair<const char*, std::uint64_t>> good = {
      {"0", 0},
      {"none", 0},
      {"4096", 4096},
      {"1K", 1024},
      {"300M", 314572800},
      {"300m", 314572800},
      {"300MiB", 314572800},
      {"300MB", 314572800},
      {"12B", 12},
      {"1.5G", 1610612736},
      {"0.1K", 102},
      {"7E", 8070450532247928832},
      {"1T", 1ULL << 40},
      {"2P", 1ULL << 51},
      {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : good) {
    INFO(text);
    const auto parsed = parse_size("limit", text);
    REQUIRE(parsed);
    CHECK(*parsed == bytes);
  }
}

TEST_CASE("what is no size is refused as usage, and named") {
  for (const char* text :
       {"12Q", "", "M", "-1", "+1", " 1", "1 ", "1.5.2", "1.", ".5", "1KK", "1iB", "0x10", "1e3",
        "8E", "9223372036854775808", "99999999999999999999", "NONE"}) {
    INFO(text);
    const auto parsed = parse_size("limit", text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().blame == Blame::kUsage);
    CHECK(parsed.error().text.find("limit '" + std::string(text) + "'") == 0);
  }
}

TEST_CASE("counts are powers of 1000 and take no B") {
  CHECK(parse_count("inodes", "50k").value() == 50'000);
  CHECK(parse_count("inodes", "1.5M").value() == 1'500'000);
  CHECK_FALSE(parse_count("inodes", "5B"));
  CHECK_FALSE(parse_count("inodes", "many"));
}

TEST_CASE("a printed size never reads as more than it is") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(1023) == "1023");
  CHECK(format_size(4096) == "4K");
  CHECK(format_size(314572800) == "300M");
  CHECK(format_size(314572799) == "299.9M");
  CHECK(format_size(1610612736) == "1.5G");
  CHECK(format_size(1ULL << 40) == "1T");
  CHECK(format_size(INT64_MAX) == "7.9E");
  CHECK(format_limit(0) == "-");
  CHECK(format_limit(1024) == "1K");
}

TEST_CASE("names are one harmless path component") {
  for (const char* name : {"w", "1", "World-1", "a.b_c", "x..y"}) {
    INFO(name);
    CHECK(check_name(name));
  }
  CHECK(check_name(std::string(64, 'a')));
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("-x"), std::string("_x"), std::string(".x"), std::string("a b"),
        std::string("a\nb"), std::string("a\0b", 3), std::string("\xc3\xa4"), std::string("a:b"),
        std::string("a*"), std::string(65, 'a')}) {
    INFO(name);
    const auto checked = check_name(name);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().blame == Blame::kUsage);
    CHECK(checked.error().text.find('\n') == std::string::npos);
  }
}

TEST_CASE("subuid lines: by name or number, broken ones left out") {
  const std::string text =
      "# "
      "comment\nother:1:2\nme:100000:65536\n1000:300000:10\nme:x:1\nme:5\nme:1:0\nme:4294967295:1\n"
      "me:4294967000:400\nmeme:1:1\n:1:1\nme:200000:5";
  const auto ranges = parse_subids(text, "me", 1000);
  REQUIRE(ranges == std::vector<IdRange>{{100000, 65536}, {300000, 10}, {200000, 5}});
  CHECK(total(ranges) == 65551);
  CHECK(truncated(ranges, 65540) == std::vector<IdRange>{{100000, 65536}, {300000, 4}});
  CHECK(truncated(ranges, 0).empty());
  CHECK(parse_subids("", "me", 1000).empty());
  // A user without a name must not own the lines that lack one.
  CHECK(parse_subids(":1:5\n", "", 7).empty());
}

TEST_CASE("shadow files are made from accounts, not from NIS lines") {
  CHECK(shadow_from_passwd("root:x:0:0:root:/root:/bin/bash\n+::::::\nbad\n\ncron:x:1:1::/:\n") ==
        "root:*:19000:0:99999:7:::\ncron:*:19000:0:99999:7:::\n");
  CHECK(gshadow_from_group("root:x:0:\nadm:x:4:me\n") == "root:*::\nadm:*::\n");
  CHECK(shadow_from_passwd("").empty());
}

TEST_CASE("root's home and shell come from the passwd of the world") {
  const std::string passwd =
      "daemon:x:1:1::/usr/sbin:/bin/false\ntoor:x:0:0:T:/var/toor:/bin/ksh\nroot:x:0:0::/r:/s\n";
  const auto root = account_of("", passwd, "bin:x:1:toor\n");
  REQUIRE(root);
  CHECK((root->name == "toor" && root->home == "/var/toor" && root->shell == "/bin/ksh"));
  CHECK((root->is_root() && root->groups.empty()));
  const auto none = account_of("", "", "");
  REQUIRE(none);
  CHECK((none->name == "root" && none->home == "/root" && none->shell.empty()));
}

TEST_CASE("users and groups are found by name or number in the world's files") {
  const std::string passwd =
      "root:x:0:0::/root:/bin/sh\nbad\nodd:x:y:1::/:\nsvc:x:7:8:S:/srv:/bin/ksh\n"
      "0:x:9:9::/nine:\nfar:x:4294967295:1::/:\n";
  const std::string group = "root:x:0:\nsvc:x:8:\nadm:x:4:me,svc\nbin:x:5:svc\nbad:x:z:svc\n";
  const auto of = [&](const std::string& said) {
    const auto account = account_of(said, passwd, group);
    if (!account) return account.error().text;
    std::string text = std::to_string(account->uid) + ":" + std::to_string(account->gid);
    for (const gid_t one : account->groups) text += "," + std::to_string(one);
    return text + " " + account->name + " " + account->home;
  };
  CHECK(of("svc") == "7:8,4,5 svc /srv");
  CHECK(of("7") == "7:8,4,5 svc /srv");
  CHECK(of("svc:adm") == "7:4 svc /srv");
  CHECK(of("7:12") == "7:12 svc /srv");
  CHECK(of("svc:") == "7:8,4,5 svc /srv");
  CHECK(of("70000") == "70000:0 70000 /");
  CHECK(of("70000:8") == "70000:8 70000 /");
  CHECK(of("0") == "0:0 root /root");
  CHECK(of("root:bin") == "0:5 root /root");
  CHECK(of("nobody") == "the world's /etc/passwd has no user 'nobody'");
  CHECK(of("svc:none") == "the world's /etc/group has no group 'none'");
  for (const char* bad : {"odd", "far", "4294967295", "-1", "7x", " 7", ":8", "svc:-1"})
    CHECK(of(bad).find(" has no ") != std::string::npos);
}

TEST_CASE("sbin directories are added once, behind") {
  CHECK(with_sbin("/usr/bin:/bin") == "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
  CHECK(with_sbin("/sbin:/usr/bin:/usr/sbin") == "/sbin:/usr/bin:/usr/sbin:/usr/local/sbin");
}

TEST_CASE("server options quote what separates, and differ by id mode") {
  Settings settings;
  settings.base = "/a,b:c\\d";
  settings.limit_bytes = 314572800;
  const World world("w", "/s/worlds/w");
  const std::string common =
      "lowerdir=/a\\,b\\:c\\\\d,upperdir=/s/worlds/w/upper,workdir=/s/worlds/w/work,control=/s/"
      "worlds/w/run/control,"
      "hide=/s,"
      "log=/s/worlds/w/run/server.log,unreadable=empty,size=314572800";
  CHECK(server_options("/s", world, settings, {IdMode::kRoot, {}, {}}) == common);
  CHECK(server_options("/s", world, settings, {IdMode::kOne, {}, {}}) ==
        common + ",upper_owner=0:0,squash_to_root");
  CHECK(server_options("/s", world, settings,
                       {IdMode::kRange, {{100000, 65536}}, {{100000, 65536}}}) ==
        common + ",upper_owner=0:0,id_count=65537");
  // Said of inodes is what was typed: without a word a limit is derived.
  settings.say_inodes(0, false);
  CHECK(server_options("/s", world, settings, {IdMode::kRoot, {}, {}}) == common + ",inodes=0");
  settings.say_inodes(0, true);
  CHECK(server_options("/s", world, settings, {IdMode::kRoot, {}, {}}) ==
        common + ",inodes=derived");
}

TEST_CASE("sealed layers lie above the base, and charges are an option of their own") {
  Settings settings;
  settings.new_limit_bytes = false;
  settings.layers = {std::string(64, '2'), std::string(64, '1')};
  settings.sealed = 2;
  settings.charged = {std::string(64, '2')};
  const World world("w", "/s:/worlds/w");
  const std::string options = server_options("/s:", world, settings, {IdMode::kRoot, {}, {}});
  CHECK(options.find("lowerdir=/s\\:/layers/" + std::string(64, '2') + "/tree:/s\\:/layers/" +
                     std::string(64, '1') + "/tree:/,upperdir=") == 0);
  CHECK(options.find(",sealed=2") != std::string::npos);
  CHECK(charges_option("/s:", settings) ==
        "charges=/s\\:/layers/" + std::string(64, '2') + "/charges");
  settings.charged.clear();
  CHECK(charges_option("/s:", settings).empty());
}

TEST_CASE("trootfs reads from its options each path that it was given, whatever is in the name") {
  constexpr std::string_view kLetters = "\\,:\"= 'a\n";
  constexpr std::size_t kLength = 4;
  std::string odd(kLength, ' ');
  std::size_t count = 1;
  for (std::size_t i = 0; i < kLength; ++i) count *= kLetters.size();
  for (std::size_t number = 0; number < count; ++number) {
    for (std::size_t i = 0, rest = number; i < kLength; ++i, rest /= kLetters.size())
      odd[i] = kLetters[rest % kLetters.size()];
    Settings settings;
    settings.base = "/" + odd;
    const std::string store = "/s" + odd;
    const World world("w", store + "/worlds/w");
    const std::vector<std::string> words{
        "-o", server_options(store, world, settings, {IdMode::kRoot, {}, {}}) + ",fuse_socket=9"};
    const auto options = troot::fusefs::parse_command_line(words);
    INFO("'" << odd << "'");
    REQUIRE(options);
    CHECK(options->config.lowers == std::vector<std::string>{settings.base});
    CHECK(options->config.upper == world.upper());
    CHECK(options->config.work == world.work());
    CHECK(options->fuse_socket == 9);
  }
}
