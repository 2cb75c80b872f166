// See scenario.h. Between them the scenarios reach every changing call of copy-up,
// creation, removal, rename, attributes and allocation.
#include "fault/scenario.h"

namespace troot::tests {
namespace {

void must(Status status) {
  if (!status) FAIL("setting up: errno " << status.error().value());
}

SetAttr owner(uid_t uid, mode_t mode) {
  SetAttr s;
  s.uid = s.gid = uid;
  s.mode = mode;
  return s;
}
SetAttr size(off_t size) {
  SetAttr s;
  s.size = size;
  return s;
}
SetAttr mode(mode_t mode) {
  SetAttr s;
  s.mode = mode;
  return s;
}
const std::string kPages(10000, 'p');

std::vector<Scenario> make() {
  return {
      // ---- copy-up
      {"write to a lower file", {}, [](Hand& h) { return h.write("d/f", 2, "new"); }},
      {"append to a lower file", {}, [](Hand& h) { return h.write("d/f", 12000, kPages); }},
      {"chmod of a lower file with xattrs", {}, [](Hand& h) { return h.set("d/x", mode(0700)); }},
      {"chown of a lower file", {}, [](Hand& h) { return h.set("d/f", owner(7, 04755)); }},
      {"chown of a lower directory", {}, [](Hand& h) { return h.set("d/e", owner(7, 0750)); }},
      {"chown of a lower symlink",
       {},
       [](Hand& h) {
         SetAttr s;
         s.uid = 7;
         return h.set("d/l", s);
       }},
      {"copy-up of a sparse file", {}, [](Hand& h) { return h.set("d/sparse", mode(0600)); }},
      {"write to a file whose data lies below", [](Hand& h) { must(h.set("d/f", mode(0600))); },
       [](Hand& h) { return h.write("d/f", 2, "new"); }},
      {"write to a sparse file whose data lies below",
       [](Hand& h) { must(h.set("d/sparse", mode(0600))); },
       [](Hand& h) { return h.write("d/sparse", 200001, "n"); }},
      {"truncation of a file whose data lies below",
       [](Hand& h) { must(h.set("d/f", mode(0600))); },
       [](Hand& h) { return h.set("d/f", size(100)); }},
      {"truncation to nothing of a file whose data lies below",
       [](Hand& h) { must(h.set("d/f", mode(0600))); },
       [](Hand& h) { return h.set("d/f", size(0)); }},
      {"rename of a file whose data lies below", [](Hand& h) { must(h.set("d/f", mode(0600))); },
       [](Hand& h) { return h.rename("d/f", "moved"); }},
      {"link of a file whose data lies below", [](Hand& h) { must(h.set("d/f", mode(0600))); },
       [](Hand& h) { return h.link("d/f", "second"); }},
      // ---- lower hard links
      {"write to one of several names", {}, [](Hand& h) { return h.write("d/h1", 2, "new"); }},
      {"chmod of one of several names", {}, [](Hand& h) { return h.set("d/h1", mode(0600)); }},
      {"unlink of one of several names", {}, [](Hand& h) { return h.unlink("d/h1"); }},
      {"unlink of another name of what is in the upper",
       [](Hand& h) { must(h.write("d/h1", 2, "new")); }, [](Hand& h) { return h.unlink("h2"); }},
      {"unlink of the last of several names", [](Hand& h) { must(h.unlink("d/h1")); },
       [](Hand& h) { return h.unlink("h2"); }},
      {"link to one of several names", {}, [](Hand& h) { return h.link("d/h1", "d/h3"); }},
      {"rename of one of several names", {}, [](Hand& h) { return h.rename("d/h1", "moved"); }},
      {"rename over one of several names",
       [](Hand& h) {
         must(h.create("u"));
         must(h.set("d/h1", mode(0600)));
       },
       [](Hand& h) { return h.rename("u", "h2"); }},
      {"rename over the last of several names",
       [](Hand& h) {
         must(h.create("u"));
         must(h.unlink("d/h1"));
       },
       [](Hand& h) { return h.rename("u", "h2"); }},
      {"exchange of one of several names", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.rename("u", "h2", RENAME_EXCHANGE); }},
      {"truncation of a lower file", {}, [](Hand& h) { return h.set("d/f", size(100)); }},
      {"truncation of a lower file to nothing", {}, [](Hand& h) { return h.set("d/f", size(0)); }},
      // ---- creation
      {"create", {}, [](Hand& h) { return h.create("d/new"); }},
      {"create of another's", {}, [](Hand& h) { return h.create("d/new", S_IFREG | 0644, 7); }},
      {"create of a setuid file", {}, [](Hand& h) { return h.create("new", S_IFREG | 04755); }},
      {"mknod of a fifo", {}, [](Hand& h) { return h.create("d/new", S_IFIFO | 0644); }},
      {"mkdir", {}, [](Hand& h) { return h.mkdir("d/new"); }},
      {"mkdir of another's", {}, [](Hand& h) { return h.mkdir("d/new", 7); }},
      {"symlink", {}, [](Hand& h) { return h.symlink("d/new"); }},
      {"symlink of another's", {}, [](Hand& h) { return h.symlink("d/new", 7); }},
      {"create over a whiteout", [](Hand& h) { must(h.unlink("d/f")); },
       [](Hand& h) { return h.create("d/f"); }},
      {"mkdir over a whiteout",
       [](Hand& h) {
         must(h.unlink("d/e/g"));
         must(h.rmdir("d/e"));
       },
       [](Hand& h) { return h.mkdir("d/e"); }},
      {"symlink of another's over a whiteout", [](Hand& h) { must(h.unlink("d/f")); },
       [](Hand& h) { return h.symlink("d/f", 7); }},
      {"create in a directory with a project", [](Hand& h) { must(h.project("d", 5, true)); },
       [](Hand& h) { return h.create("d/new", S_IFREG | 0644, 7); }},
      {"symlink in a directory with a project", [](Hand& h) { must(h.project("d", 5, true)); },
       [](Hand& h) { return h.symlink("d/new", 7); }},
      {"link of a lower file", {}, [](Hand& h) { return h.link("d/f", "second"); }},
      {"link of an upper file", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.link("u", "d/second"); }},
      {"link over a whiteout",
       [](Hand& h) {
         must(h.create("u"));
         must(h.unlink("d/f"));
       },
       [](Hand& h) { return h.link("u", "d/f"); }},
      // ---- removal
      {"unlink of a lower file", {}, [](Hand& h) { return h.unlink("d/f"); }},
      {"unlink of an upper file",
       [](Hand& h) {
         must(h.create("d/u"));
         must(h.write("d/u", 0, kPages));
       },
       [](Hand& h) { return h.unlink("d/u"); }},
      {"unlink of a copied-up file", [](Hand& h) { must(h.write("d/f", 0, "x")); },
       [](Hand& h) { return h.unlink("d/f"); }},
      {"unlink of one of two links",
       [](Hand& h) {
         must(h.create("u"));
         must(h.link("u", "v"));
       },
       [](Hand& h) { return h.unlink("u"); }},
      {"unlink of a second link that covers a lower file",
       [](Hand& h) {
         must(h.create("u"));
         must(h.unlink("d/f"));
         must(h.link("u", "d/f"));
       },
       [](Hand& h) {
         (void)h.id("u");
         return h.unlink("d/f");
       }},
      {"unlink of another's symlink", [](Hand& h) { must(h.symlink("s", 7)); },
       [](Hand& h) { return h.unlink("s"); }},
      {"rmdir of a lower directory", [](Hand& h) { must(h.unlink("d/e/g")); },
       [](Hand& h) { return h.rmdir("d/e"); }},
      {"rmdir of an upper directory", [](Hand& h) { must(h.mkdir("d/u")); },
       [](Hand& h) { return h.rmdir("d/u"); }},
      // ---- rename
      {"rename of a lower file", {}, [](Hand& h) { return h.rename("d/f", "moved"); }},
      {"rename of an upper file", [](Hand& h) { must(h.create("u", S_IFREG | 0600, 7)); },
       [](Hand& h) { return h.rename("u", "d/moved"); }},
      {"rename over an upper file",
       [](Hand& h) {
         must(h.create("u"));
         must(h.create("v"));
         must(h.write("v", 0, kPages));
       },
       [](Hand& h) { return h.rename("u", "v"); }},
      {"rename over a lower file", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.rename("u", "d/f"); }},
      {"rename of a lower file over a lower file",
       {},
       [](Hand& h) { return h.rename("d/f", "d/x"); }},
      {"rename over a whiteout",
       [](Hand& h) {
         must(h.create("u"));
         must(h.unlink("d/f"));
       },
       [](Hand& h) { return h.rename("u", "d/f"); }},
      {"rename of a covering file over a whiteout", [](Hand& h) { must(h.unlink("d/f")); },
       [](Hand& h) { return h.rename("d/x", "d/f"); }},
      {"rename of a directory",
       [](Hand& h) {
         must(h.mkdir("u", 7));
         must(h.create("u/in"));
       },
       [](Hand& h) { return h.rename("u", "d/moved"); }},
      {"rename of a directory over a whiteout",
       [](Hand& h) {
         must(h.mkdir("u"));
         must(h.create("u/in"));
         must(h.unlink("d/f"));
       },
       [](Hand& h) { return h.rename("u", "d/f"); }},
      {"rename of an opaque directory over a whiteout",
       [](Hand& h) {
         must(h.unlink("d/e/g"));
         must(h.rmdir("d/e"));
         must(h.mkdir("d/e"));
         must(h.create("d/e/in"));
         must(h.unlink("d/f"));
       },
       [](Hand& h) { return h.rename("d/e", "d/f"); }},
      {"rename of a directory over an empty upper one",
       [](Hand& h) {
         must(h.mkdir("u"));
         must(h.create("u/in"));
         must(h.mkdir("v"));
       },
       [](Hand& h) { return h.rename("u", "v"); }},
      {"rename of a directory over an emptied merged one",
       [](Hand& h) {
         must(h.mkdir("u"));
         must(h.create("u/in"));
         must(h.unlink("d/e/g"));
         must(h.set("d/e", owner(7, 0750)));
         must(h.set_xattr("d/e", "user.k", "v"));
       },
       [](Hand& h) { return h.rename("u", "d/e"); }},
      {"rename of a directory over an empty lower one",
       [](Hand& h) {
         must(h.mkdir("u"));
         must(h.create("u/in"));
       },
       [](Hand& h) { return h.rename("u", "d/empty"); }},
      {"exchange of files", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.rename("u", "d/f", RENAME_EXCHANGE); }},
      {"exchange of a directory and a file",
       [](Hand& h) {
         must(h.mkdir("u"));
         must(h.create("u/in"));
       },
       [](Hand& h) { return h.rename("u", "d/f", RENAME_EXCHANGE); }},
      {"rename of a lower directory", {}, [](Hand& h) { return h.rename("d/e", "moved"); }},
      {"rename of a merged directory over a whiteout",
       [](Hand& h) {
         must(h.create("d/e/in"));
         must(h.unlink("d/f"));
       },
       [](Hand& h) { return h.rename("d/e", "d/f"); }},
      {"rename of a lower directory over an empty lower one",
       {},
       [](Hand& h) { return h.rename("d/e", "d/empty"); }},
      {"exchange of lower directories",
       {},
       [](Hand& h) { return h.rename("d/e", "d/empty", RENAME_EXCHANGE); }},
      // ---- attributes and data
      {"chown of an upper file", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.set("u", owner(7, 0751)); }},
      {"chown back to the plain owner", [](Hand& h) { must(h.create("u", S_IFREG | 0751, 7)); },
       [](Hand& h) { return h.set("u", owner(::geteuid(), 0644)); }},
      {"setxattr beyond what is free", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.set_xattr("u", "user.big", std::string(3000, 'x')); }},
      {"removexattr of a charged one",
       [](Hand& h) {
         must(h.create("u"));
         must(h.set_xattr("u", "user.big", std::string(3000, 'x')));
       },
       [](Hand& h) { return h.remove_xattr("u", "user.big"); }},
      {"write far past the end", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.write("u", 100000, "far"); }},
      {"truncate up", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.set("u", size(50000)); }},
      {"truncate down a preallocated file",
       [](Hand& h) {
         must(h.create("u"));
         must(h.allocate("u", 0, 0, 40960));
         must(h.write("u", 4096, "data"));
       },
       [](Hand& h) { return h.set("u", size(8192)); }, false},
      {"truncate a preallocated file to nothing",
       [](Hand& h) {
         must(h.create("u"));
         must(h.allocate("u", 0, 0, 40960));
       },
       [](Hand& h) { return h.set("u", size(0)); }, false},
      {"preallocate", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.allocate("u", 0, 0, 40960); }, false},
      {"preallocate more past the end",
       [](Hand& h) {
         must(h.create("u"));
         must(h.allocate("u", FALLOC_FL_KEEP_SIZE, 0, 8192));
       },
       [](Hand& h) { return h.allocate("u", FALLOC_FL_KEEP_SIZE, 81920, 8192); }, false},
      {"punch a hole into data",
       [](Hand& h) {
         must(h.create("u"));
         must(h.write("u", 0, kPages));
       },
       [](Hand& h) {
         return h.allocate("u", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
       },
       false},
      {"punch a hole into preallocated space",
       [](Hand& h) {
         must(h.create("u"));
         must(h.allocate("u", 0, 0, 40960));
         must(h.write("u", 0, kPages));
       },
       [](Hand& h) {
         return h.allocate("u", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 16384);
       },
       false},
      {"a project for a file", [](Hand& h) { must(h.create("u")); },
       [](Hand& h) { return h.project("u", 5, false); }},
      {"a project for a lower directory", {}, [](Hand& h) { return h.project("d", 5, true); }},
      {"back to no project", [](Hand& h) { must(h.project("d", 5, true)); },
       [](Hand& h) { return h.project("d", 0, false); }},
  };
}

}  // namespace

void fill_lower(const std::string& lower) {
  ::umask(0);  // as Overlay::open sets it
  const auto put = [&](const std::string& name, const std::string& text) {
    std::ofstream(lower + "/" + name) << text;
  };
  boost::filesystem::create_directories(lower + "/d/e");
  boost::filesystem::create_directories(lower + "/d/empty");
  put("d/f", std::string(12000, 'f'));
  put("d/x", "with xattrs");
  put("d/e/g", "g");
  ::setxattr((lower + "/d/x").c_str(), "user.k", "v", 1, 0);
  boost::filesystem::create_symlink("f", lower + "/d/l");
  put("d/h1", std::string(9000, 'h'));
  boost::filesystem::create_hard_link(lower + "/d/h1", lower + "/h2");
  put("d/sparse", "");
  const Fd fd(::open((lower + "/d/sparse").c_str(), O_WRONLY));
  if (::pwrite(fd.get(), "far", 3, 200000) != 3) FAIL("cannot write to the lower");
}

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = make();
  return all;
}

}  // namespace troot::tests
