#include "vpd/io/sha256.hpp"

#include <gtest/gtest.h>

#include "support.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

std::string digest_in_pieces(const std::string& text, std::size_t piece) {
  Sha256 hash;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    hash.update(std::as_bytes(std::span(text).subspan(i, std::min(piece, text.size() - i))));
  }
  return hash.hex_digest();
}

// The examples of FIPS 180-4 and of NIST's SHAVS.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(digest_in_pieces("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_in_pieces("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_in_pieces("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_in_pieces(std::string(1'000'000, 'a'), 1'000'000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesDoNotMatter) {
  for (const std::size_t size : {1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + 1);
    const std::string whole = digest_in_pieces(text, size);
    for (const std::size_t piece : {1, 13, 64, 100}) EXPECT_EQ(digest_in_pieces(text, piece), whole) << size;
  }
}

TEST(Sha256, OfAFileLargerThanTheBuffer) {
  const testing::TemporaryDirectory directory;
  const std::string text((std::size_t{1} << 20) + 17, 'q');
  write_atomically(directory / "file", text);
  EXPECT_EQ(sha256_of_file(directory / "file"), digest_in_pieces(text, text.size()));
  EXPECT_DATA_ERROR("absent: cannot open the file", sha256_of_file(directory / "absent"));
}

}  // namespace
}  // namespace vpd
