#include "vpd/io/files.hpp"

#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::count_entries;
using testing::SmallDisk;
using testing::TemporaryDirectory;

TEST(Files, WritesAndReadsBackAnyBytes) {
  const TemporaryDirectory directory;
  const std::string content("a\0b\nc\xff", 6);
  write_atomically(directory / "file", content);
  EXPECT_EQ(read_text(directory / "file"), content);
  write_atomically(directory / "file", "");
  EXPECT_EQ(read_text(directory / "file"), "");
  EXPECT_EQ(count_entries(directory.path()), 1u);
}

TEST(Files, ALinkStaysOne) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "there");
  write_atomically(directory / "there" / "file", "old");
  fs::create_symlink("there/file", directory / "link");
  fs::create_symlink("link", directory / "second");
  fs::create_symlink("there/none", directory / "dangling");
  write_atomically(directory / "second", "new");
  write_atomically(directory / "dangling", "made");
  EXPECT_TRUE(fs::is_symlink(directory / "second") && fs::is_symlink(directory / "link"));
  EXPECT_EQ(read_text(directory / "there" / "file"), "new");
  EXPECT_EQ(read_text(directory / "there" / "none"), "made");
  EXPECT_EQ(count_entries(directory / "there"), 2u);
}

TEST(Files, APipeIsWrittenTo) {
  const TemporaryDirectory directory;
  const fs::path pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string found;
  std::thread reader([&] { std::getline(std::ifstream(pipe), found, '\0'); });
  write_atomically(pipe, "content");
  reader.join();
  EXPECT_EQ(found, "content");
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(count_entries(directory.path()), 1u);
}

TEST(Files, ReadingWhatIsNotAFileSaysWhy) {
  const TemporaryDirectory directory;
  EXPECT_DATA_ERROR("absent: cannot open the file: No such file or directory",
                    read_text(directory / "absent"));
  EXPECT_DATA_ERROR("expected a regular file, found a directory", read_text(directory.path()));
}

TEST(Files, WritingWhereThereIsNoDirectorySaysWhy) {
  const TemporaryDirectory directory;
  EXPECT_DATA_ERROR("cannot create the file: No such file or directory; check the path",
                    write_atomically(directory / "absent/file", "x"));
  write_atomically(directory / "file", "x");
  EXPECT_DATA_ERROR("file/below: cannot create the file: Not a directory",
                    write_atomically(directory / "file/below", "x"));
}

TEST(Files, WritingToAForbiddenDirectorySaysWhy) {
  const TemporaryDirectory directory;
  fs::permissions(directory.path(), fs::perms::owner_read | fs::perms::owner_exec);
  {
    const testing::Unprivileged nobody;
    EXPECT_DATA_ERROR("cannot create the file: Permission denied; check the permissions",
                      write_atomically(directory / "file", "x"));
  }
  fs::permissions(directory.path(), fs::perms::owner_all);
}

TEST(Files, FullDiskKeepsTheOldFileAndLeavesNothingElse) {
  const SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: mounting a small tmpfs needs root";
  write_atomically(disk.path() / "file", "old");
  EXPECT_DATA_ERROR("file: cannot write the file: No space left on device; free some space",
                    write_atomically(disk.path() / "file", std::string(1 << 20, 'x')));
  EXPECT_EQ(read_text(disk.path() / "file"), "old");
  EXPECT_EQ(count_entries(disk.path()), 1u);
}

TEST(Files, AtomicFileWithoutCommitLeavesNothing) {
  const TemporaryDirectory directory;
  {
    AtomicFile file(directory / "file");
    file.write("abc", 3);
    EXPECT_FALSE(fs::exists(directory / "file"));
    EXPECT_EQ(count_entries(directory.path()), 1u);
  }
  EXPECT_EQ(count_entries(directory.path()), 0u);
}

TEST(Files, InputFileReadsAtOffsetsAndOutlivesAReplacement) {
  const TemporaryDirectory directory;
  write_atomically(directory / "file", "0123456789");
  InputFile file(directory / "file");
  write_atomically(directory / "file", "other");
  EXPECT_EQ(file.size(), 10);
  char bytes[3];
  file.read(7, bytes, 3);
  EXPECT_EQ(std::string(bytes, 3), "789");
  EXPECT_DATA_ERROR("expected 1 more bytes at offset 10, found the end of the file", file.read(8, bytes, 3));
  const InputFile moved = std::move(file);
  moved.read(0, bytes, 3);
  EXPECT_EQ(std::string(bytes, 3), "012");
}

TEST(Files, MappedFileShowsTheBytes) {
  const TemporaryDirectory directory;
  write_atomically(directory / "file", "abc");
  MappedFile first(directory / "file");
  const MappedFile second = std::move(first);
  ASSERT_EQ(second.bytes().size(), 3u);
  EXPECT_EQ(std::memcmp(second.bytes().data(), "abc", 3), 0);
  EXPECT_TRUE(first.bytes().empty());
  write_atomically(directory / "empty", "");
  EXPECT_TRUE(MappedFile(directory / "empty").bytes().empty());
  EXPECT_DATA_ERROR("absent: cannot open the file", MappedFile(directory / "absent"));
}

TEST(Files, SymlinkIsReplaced) {
  const TemporaryDirectory directory;
  write_atomically(directory / "a", "A");
  write_atomically(directory / "b", "B");
  replace_symlink(directory / "link", "a");
  EXPECT_EQ(read_text(directory / "link"), "A");
  replace_symlink(directory / "link", "b");
  EXPECT_EQ(read_text(directory / "link"), "B");
  EXPECT_EQ(fs::read_symlink(directory / "link"), "b");
  EXPECT_EQ(count_entries(directory.path()), 3u);
  EXPECT_DATA_ERROR("cannot create the link", replace_symlink(directory / "absent/link", "a"));
}

TEST(Files, PublishedDirectoryReplacesAnOlderOne) {
  const TemporaryDirectory directory;
  for (const char* content : {"first", "second"}) {
    fs::create_directories(directory / "tmp/inner");
    write_atomically(directory / "tmp/inner/file", content);
    publish_directory(directory / "tmp", directory / "final");
    EXPECT_EQ(read_text(directory / "final/inner/file"), content);
    EXPECT_EQ(count_entries(directory.path()), 1u);
  }
  EXPECT_DATA_ERROR("final: cannot publish the finished directory",
                    publish_directory(directory / "tmp", directory / "final"));
  EXPECT_EQ(read_text(directory / "final/inner/file"), "second");
}

}  // namespace
}  // namespace vpd
