#include "import/zip_archive.hpp"

#include <gtest/gtest.h>

#include "io/support.hpp"
#include "zip_files.hpp"

namespace vpd {
namespace {

using testing::bytes_of;
using testing::zip_of;
using testing::ZipFile;

std::string text_of(const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size()};
}

void expect_archive_rejected(const std::string& archive, const std::string& part) {
  EXPECT_DATA_ERROR(part, ZipArchive(bytes_of(archive), "x.pt"));
  EXPECT_DATA_ERROR("x.pt: ", ZipArchive(bytes_of(archive), "x.pt"));
}

void expect_entry_rejected(const ZipFile& file, const std::string& part) {
  expect_archive_rejected(zip_of({{.name = "first", .content = "abc"}, file}), part);
}

// The CRC-32 bit by bit, from its definition.
std::uint32_t plain_crc32(const std::string& text) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0xedb88320U : crc >> 1U;
  }
  return ~crc;
}

TEST(ZipArchive, EntriesComeBackAsTheyWere) {
  for (const bool zip64 : {false, true}) {
    const std::string archive =
        zip_of({{.name = "a/data.pkl", .content = "one", .zip64 = zip64, .local_extra = 13},
                {.name = "a/empty", .content = "", .zip64 = zip64},
                {.name = "a/ü", .content = std::string(1000, 'x'), .zip64 = zip64}},
               {.zip64_end = zip64, .comment = zip64 ? "a comment" : ""});
    const ZipArchive zip(bytes_of(archive), "x.pt");
    ASSERT_EQ(zip.entries().size(), 3u);
    EXPECT_EQ(zip.entries()[0].name, "a/data.pkl");
    EXPECT_EQ(text_of(zip.entries()[0]), "one");
    EXPECT_EQ(text_of(*zip.find("a/empty")), "");
    EXPECT_EQ(text_of(*zip.find("a/ü")), std::string(1000, 'x'));
    EXPECT_EQ(zip.find("a/none"), nullptr);
    for (const ZipEntry& entry : zip.entries()) zip.check(entry);
  }
}

TEST(ZipArchive, NoEntriesAtAll) {
  const std::string archive = zip_of({});
  EXPECT_TRUE(ZipArchive(bytes_of(archive), "x.pt").entries().empty());
}

// A comment may look like an end: the real one's comment reaches the end of the file.
TEST(ZipArchive, EndInsideAComment) {
  const std::string archive =
      zip_of({{.name = "a", .content = "b"}}, {.comment = "PK\x05\x06" + std::string(30, '\x01')});
  EXPECT_EQ(ZipArchive(bytes_of(archive), "x.pt").entries().size(), 1u);
}

TEST(ZipArchive, Crc32) {
  EXPECT_EQ(crc32_of(bytes_of("123456789")), 0xcbf43926U);  // the published check value
  std::string text;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32_of(bytes_of(text)), plain_crc32(text)) << i;
    text.push_back(static_cast<char>(i * 37 + 11));
  }
}

TEST(ZipArchive, DamageIsFound) {
  const std::string archive =
      zip_of({{.name = "a", .content = "abc", .crc_error = 1}, {.name = "b", .content = "b"}});
  const ZipArchive zip(bytes_of(archive), "x.pt");
  EXPECT_DATA_ERROR("entry 'a': expected the CRC-32 352441c3", zip.check(*zip.find("a")));
  zip.check(*zip.find("b"));
}

// torch.serialization.set_crc32_options(False) writes zeros.
TEST(ZipArchive, WithoutSums) {
  std::vector<ZipFile> files = {{.name = "a", .content = "abc"}, {.name = "b", .content = "b"}};
  for (ZipFile& file : files) file.crc_error = crc32_of(bytes_of(file.content));
  const std::string archive = zip_of(files);
  const ZipArchive zip(bytes_of(archive), "x.pt");
  zip.check(*zip.find("a"));
  files[1].crc_error = 0;
  const std::string partly = zip_of(files);
  const ZipArchive other(bytes_of(partly), "x.pt");
  EXPECT_DATA_ERROR("expected the CRC-32 00000000", other.check(*other.find("a")));
}

TEST(ZipArchive, OtherFilesAreRejected) {
  expect_archive_rejected("", "expected a zip archive, found no end of one");
  expect_archive_rejected("PK", "found no end of one");
  expect_archive_rejected(std::string(100000, 'x'), "found no end of one");
  EXPECT_FALSE(looks_like_zip(bytes_of("PK\x05\x06")));
  EXPECT_TRUE(looks_like_zip(bytes_of(zip_of({{.name = "a", .content = ""}}))));
}

TEST(ZipArchive, EveryTruncationIsRejected) {
  for (const bool zip64 : {false, true}) {
    const std::string whole = zip_of(
        {{.name = "a", .content = "abc", .zip64 = zip64}, {.name = "b", .content = "defg", .zip64 = zip64}},
        {.zip64_end = zip64});
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const std::string part = whole.substr(0, size);
      EXPECT_THROW(ZipArchive(bytes_of(part), "x.pt"), DataError) << size;
    }
    expect_archive_rejected(whole + "x", "found no end of one");
  }
}

// Whatever one byte is changed to, the archive is read or refused, and what is read lies inside the file.
TEST(ZipArchive, EveryChangedByteIsSurvived) {
  for (const bool zip64 : {false, true}) {
    const std::string whole = zip_of(
        {{.name = "a", .content = "abc", .zip64 = zip64}, {.name = "b", .content = "defg", .zip64 = zip64}},
        {.zip64_end = zip64});
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const int value : {0, 1, 0x7f, 0x80, 0xff}) {
        std::string changed = whole;
        changed[i] = static_cast<char>(value);
        try {
          const ZipArchive zip(bytes_of(changed), "x.pt");
          for (const ZipEntry& entry : zip.entries()) crc32_of(entry.bytes);
        } catch (const DataError&) {
        }
      }
    }
  }
}

TEST(ZipArchive, EntriesThatContradictTheirHeaders) {
  expect_entry_rejected({.name = "b", .content = "bb", .flags = 1}, "found encrypted ones");
  expect_entry_rejected({.name = "b", .content = "bb", .local_name = "c"}, "expected its header at byte");
  expect_entry_rejected({.name = "b", .content = "bb", .local_name = "bb"}, "expected its header at byte");
  expect_entry_rejected({.name = "b", .content = "bb", .size_error = 1}, "expected 3 bytes from byte");
  expect_entry_rejected({.name = "b", .content = "bb", .size_error = 0x7ffffff0}, "before the directory");
  expect_entry_rejected({.name = "b", .content = "bb", .size_error = -3, .zip64 = true},
                        "expected 18446744073709551615 bytes");
  expect_entry_rejected({.name = "b", .content = "bb", .offset_error = 1}, "expected its header at byte");
  expect_entry_rejected({.name = "b", .content = "bb", .offset_error = 1000},
                        "expected it before the directory");
  expect_entry_rejected({.name = "b", .content = "bb", .offset_error = -1000, .zip64 = true},
                        "expected it before the directory");
}

// A compressed entry is no hindrance until somebody wants it.
TEST(ZipArchive, CompressedEntries) {
  const std::string archive =
      zip_of({{.name = "a", .content = "abc"}, {.name = "b", .content = "xx", .method = 8}});
  const ZipArchive zip(bytes_of(archive), "x.pt");
  zip.check(*zip.find("a"));
  const std::string part = "entry 'b': expected bytes as they are, found compressed ones (method 8)";
  EXPECT_DATA_ERROR(part, zip.check(*zip.find("b")));
  EXPECT_DATA_ERROR(part, zip.check_stored(*zip.find("b")));
}

TEST(ZipArchive, OverlappingEntries) {
  // The second entry's place is the first one's, and its name too; then only its content reaches into the
  // next.
  const std::int64_t back = -static_cast<std::int64_t>(30 + 1 + 3);
  expect_archive_rejected(
      zip_of({{.name = "a", .content = "abc"}, {.name = "a", .content = "abc", .offset_error = back}}),
      "found two that overlap");
  expect_archive_rejected(
      zip_of({{.name = "a", .content = "abc", .size_error = 5}, {.name = "b", .content = "abc"}}),
      "found two that overlap");
}

TEST(ZipArchive, NamesComeOnce) {
  expect_archive_rejected(zip_of({{.name = "a", .content = "1"}, {.name = "a", .content = "2"}}),
                          "found 'a' twice");
}

TEST(ZipArchive, NamesThatLeadOut) {
  for (const std::string name : {"/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\\..\\x", ""}) {
    expect_entry_rejected({.name = name, .content = "b", .local_name = name}, "stay inside the archive");
  }
  expect_entry_rejected({.name = std::string("a\0b", 3), .content = "b"}, "stay inside the archive");
  const std::string fine =
      zip_of({{.name = "a/..b/c..", .content = "b"}, {.name = ".data/x", .content = ""}});
  EXPECT_EQ(ZipArchive(bytes_of(fine), "x.pt").entries().size(), 2u);
}

TEST(ZipArchive, DirectoriesThatAreNotThere) {
  const std::vector<ZipFile> files = {{.name = "a", .content = "abc"}};
  for (const bool zip64 : {false, true}) {
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .count_error = 1}),
                            "expected an entry of the archive's directory");
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .count_error = -1}),
                            "expected a directory of 47");
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .directory_offset_error = 1}),
                            "archive's directory");
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .directory_offset_error = 1 << 30}),
                            "archive's directory within");
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .directory_size_error = 1 << 30}),
                            "archive's directory within");
    expect_archive_rejected(zip_of(files, {.zip64_end = zip64, .disk = 1}), "found one of several disks");
  }
  // As many entries as a 64-bit number can say are refused after the first that is not there.
  expect_archive_rejected(zip_of(files, {.zip64_end = true, .count_error = -2}),
                          "expected an entry of the archive's directory");
}

TEST(ZipArchive, Zip64FieldsThatAreNotThere) {
  std::string archive = zip_of({{.name = "a", .content = "abc", .zip64 = true}});
  const std::size_t field = archive.find(std::string("\x01\0\x18\0", 4));
  ASSERT_NE(field, std::string::npos);
  archive[field] = 2;
  expect_archive_rejected(archive, "expected a ZIP64 field");
  archive[field] = 1;
  archive[field + 2] = 8;
  expect_archive_rejected(archive, "found too few");
  archive[field + 2] = 25;
  expect_archive_rejected(archive, "expected a whole extra field");
}

}  // namespace
}  // namespace vpd
