#include "vpd/decomposition/sites.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

const std::vector<MatrixShape> matrices = {{"wte", 32, 8, false, true}, {"h.0.attn.q_proj", 8, 8},
                                           {"h.0.attn.k_proj", 8, 4},   {"h.0.mlp.c_fc", 8, 16},
                                           {"h.1.attn.q_proj", 8, 8},   {"lm_head", 8, 32, false}};

std::string message_of(const std::vector<SitePattern>& patterns) {
  try {
    match_sites(matrices, patterns, "run.yaml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Sites, TheFirstPatternThatMatchesWinsAndSitesAreAlphabetical) {
  const Sites sites = match_sites(matrices, {{"h.1.*", 3}, {"h.*.attn.[qk]_proj", 5}}, "run.yaml");
  ASSERT_EQ(sites.size(), 3u);
  EXPECT_EQ(sites[0].name, "h.0.attn.k_proj");
  EXPECT_EQ(sites[1].name, "h.0.attn.q_proj");
  EXPECT_EQ(sites[2].name, "h.1.attn.q_proj");
  EXPECT_EQ(sites[2].C, 3);
  EXPECT_EQ(sites[2].offset, 10);
  EXPECT_EQ(sites.total_C(), 13);
  EXPECT_EQ(sites.entries(), 32 + 64 + 64);
  EXPECT_EQ(sites.of_matrix(), (std::vector<int>{-1, 1, 0, -1, 2, -1}));
}

TEST(Sites, AreFoundByNameAndHaveColumns) {
  const Sites sites = match_sites(matrices, {{"h.1.*", 3}, {"h.*.attn.[qk]_proj", 5}}, "run.yaml");
  EXPECT_EQ(sites.find("h.0.attn.q_proj"), std::optional<std::size_t>(1));
  EXPECT_FALSE(sites.find("h.0.mlp.c_fc"));
  const at::Tensor x = at::arange(2 * 13, at::kFloat).view({2, 13});
  EXPECT_TRUE(sites.columns(x, 2).equal(x.narrow(1, 10, 3)));
  EXPECT_TRUE(sites.columns(x[1], 1).equal(x[1].narrow(0, 5, 5)));
}

TEST(Sites, SubcomponentsHaveANameInText) {
  const Sites sites = match_sites(matrices, {{"h.1.*", 3}, {"h.*.attn.[qk]_proj", 5}}, "run.yaml");
  const SubcomponentId id = subcomponent_of("h.1.attn.q_proj:2", sites);
  EXPECT_EQ(id, (SubcomponentId{2, 2}));
  EXPECT_EQ(column_of(id, sites), 12);
  EXPECT_EQ(to_text(id, sites), "h.1.attn.q_proj:2");
  const auto message = [&](const char* text) -> std::string {
    try {
      subcomponent_of(text, sites);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  };
  for (const char* text : {"", "h.1.attn.q_proj", "h.1.attn.q_proj:", "h.1.attn.q_proj:-1",
                           "h.1.attn.q_proj:1x", ":99999999999999999999"}) {
    EXPECT_NE(message(text).find("expected a subcomponent as SITE:NUMBER, as in h.0.attn.k_proj:0"),
              std::string::npos)
        << text << ": " << message(text);
  }
  EXPECT_NE(message("nothing.like.it:1").find("name one that is, such as h."), std::string::npos);
  EXPECT_NE(message("h.1.attn.q_prj:1").find("did you mean h.1.attn.q_proj?"), std::string::npos)
      << message("h.1.attn.q_prj:1");
  EXPECT_NE(
      message("h.1.attn.q_proj:3").find("expected one of the 3 subcomponents of h.1.attn.q_proj, 0 to 2"),
      std::string::npos)
      << message("h.1.attn.q_proj:3");
}

TEST(Sites, TheHeadIsASiteOnlyWhereItIsNamedInFull) {
  EXPECT_EQ(match_sites(matrices, {{"*", 2}}, "run.yaml").size(), 4u);
  EXPECT_EQ(match_sites(matrices, {{"lm_head", 2}, {"*", 2}}, "run.yaml").size(), 5u);
}

TEST(Sites, APatternThatMatchesNothingIsAnError) {
  const std::string message = message_of({{"h.0.attn.q_prj", 2}});
  EXPECT_NE(message.find("run.yaml: sites[0].pattern"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean \"h.0.attn.q_proj\""), std::string::npos) << message;
}

TEST(Sites, APatternThatMatchesOnlyWhatEarlierOnesTookIsAnError) {
  const std::string message = message_of({{"h.*", 2}, {"h.0.mlp.c_fc", 4}});
  EXPECT_NE(message.find("sites[1].pattern"), std::string::npos) << message;
  EXPECT_NE(message.find("earlier patterns"), std::string::npos) << message;
}

TEST(Sites, AnEmbeddingIsASiteOnlyWhereItIsNamedInFull) {
  EXPECT_NE(message_of({{"wt?", 2}}).find("did you mean \"wte\""), std::string::npos);
  const Sites sites = match_sites(matrices, {{"wte", 3}, {"*", 2}}, "run.yaml");
  ASSERT_EQ(sites.size(), 5u);
  const Site& site = sites[4];
  EXPECT_EQ(site.name, "wte");
  EXPECT_TRUE(site.embedding);
  EXPECT_EQ(site.importance_width(), 3);
  EXPECT_EQ(sites[0].importance_width(), 8);
  EXPECT_EQ(site.d_in * site.d_out, 32 * 8);
}

}  // namespace
}  // namespace vpd
