// The command `troot export`.
#include "tools/troot/image/export.h"

#include <memory>

#include "tools/troot/commands/command.h"

namespace troot::cli {
namespace {

struct ExportWords {
  std::string name, output = "-", format = "rootfs", compression;
  bool squash = false;
};

/// What was asked, or what the file's name says.
archive::Compression compression_of(const ExportWords& words) {
  using archive::Compression;
  const std::string& file = words.output;
  if (words.compression == "none") return Compression::kNone;
  if (words.compression == "gzip") return Compression::kGzip;
  if (!words.compression.empty()) return Compression::kZstd;
  // Of an image the layer is compressed and not the file.
  if (words.format == "oci") return Compression::kGzip;
  if (file.ends_with(".tar")) return Compression::kNone;
  if (file.ends_with(".gz") || file.ends_with(".tgz")) return Compression::kGzip;
  return Compression::kZstd;
}

Outcome<int> run_export(const ExportWords& words) {
  NEED(must_be_outside());
  TAKE(store, Store::of_user());
  ExportPlan plan;
  plan.world = words.name;
  plan.output = words.output;
  plan.format = words.format == "layer" ? ExportFormat::kLayer
                : words.format == "oci" ? ExportFormat::kOci
                                        : ExportFormat::kRootfs;
  plan.compression = compression_of(words);
  plan.squash = words.squash;
  if (words.squash && plan.format != ExportFormat::kOci)
    return usage("export: --squash is for --format oci; others have one layer anyway");
  NEED(export_world(store, plan));
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Invocation& typed) {
  auto* command = app.add_subcommand("export", "Write a stopped world as a tar");
  auto words = std::make_shared<ExportWords>();
  command
      ->add_option("NAME", words->name, "A world that is stopped, or a snapshot: NAME@TAG, NAME@-1")
      ->required();
  command
      ->add_option("-o,--output", words->output, "Where to: a file, or - for the standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command
      ->add_option(
          "--format", words->format,
          "rootfs: all that it shows; layer: what it changed (since its last snapshot, and of a "
          "snapshot since the one before), with the whiteouts of OCI; "
          "oci: an image that podman load takes, of the layers that it was made of and one "
          "with what it changed")
      ->check(CLI::IsMember({"rootfs", "layer", "oci"}))
      ->capture_default_str();
  command
      ->add_option(
          "--compress", words->compression,
          "zstd, gzip or none (default: as the file's name ends, else zstd; of an image gzip)")
      ->check(CLI::IsMember({"zstd", "gzip", "none"}));
  command->add_flag("--squash", words->squash, "Of an image: one layer with all that it shows");
  command->callback([words, &typed] { typed.action = [words] { return run_export(*words); }; });
}

}  // namespace troot::cli
