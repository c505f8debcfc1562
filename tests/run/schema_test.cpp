#include <functional>
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "vpd/config/pretrain.hpp"
#include "vpd/config/run.hpp"

// The JSON Schemas are well formed. That they accept and refuse what the program does is
// tests/program/schema_test.py's business.

namespace vpd {
namespace {

using Json = nlohmann::json;

const std::set<std::string> known_keys = {"$schema",
                                          "title",
                                          "type",
                                          "description",
                                          "properties",
                                          "required",
                                          "default",
                                          "minimum",
                                          "maximum",
                                          "additionalProperties",
                                          "exclusiveMinimum",
                                          "exclusiveMaximum",
                                          "pattern",
                                          "minLength",
                                          "enum",
                                          "anyOf",
                                          "oneOf",
                                          "items",
                                          "minItems",
                                          "const"};
const std::set<std::string> known_types = {"object",  "array",   "string", "number",
                                           "integer", "boolean", "null"};

/// Calls visit with every schema inside `schema`, itself included.
void each_schema(const Json& schema, const std::function<void(const Json&)>& visit) {
  visit(schema);
  for (const char* key : {"anyOf", "oneOf"}) {
    if (schema.contains(key)) {
      for (const Json& option : schema[key]) each_schema(option, visit);
    }
  }
  if (schema.contains("items")) each_schema(schema["items"], visit);
  if (schema.contains("properties")) {
    for (const auto& [name, property] : schema["properties"].items()) each_schema(property, visit);
  }
  if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
    each_schema(schema["additionalProperties"], visit);
  }
}

class Schema : public ::testing::TestWithParam<std::string> {};

TEST_P(Schema, IsWellFormed) {
  const Json root = Json::parse(GetParam());
  EXPECT_EQ(root["$schema"], "https://json-schema.org/draft/2020-12/schema");
  std::size_t properties = 0;
  each_schema(root, [&](const Json& schema) {
    ASSERT_TRUE(schema.is_object()) << schema;
    for (const auto& [key, value] : schema.items()) EXPECT_TRUE(known_keys.contains(key)) << key;
    if (schema.contains("type")) {
      EXPECT_TRUE(known_types.contains(schema["type"].get<std::string>())) << schema["type"];
    }
    // Options that only require something are of a map whose properties stand beside them.
    const bool of_options = schema.contains("properties") && schema.contains("anyOf");
    std::vector<Json> requirements =
        of_options ? schema["anyOf"].get<std::vector<Json>>() : std::vector<Json>();
    if (schema.contains("properties")) requirements.push_back(schema);
    for (const Json& requirement : requirements)
      for (const Json& key : requirement.value("required", Json::array()))
        EXPECT_TRUE(schema["properties"].contains(key.get<std::string>())) << key;
    if (schema.contains("required")) {
      EXPECT_TRUE(schema.contains("properties") || schema.size() == 1) << schema;
    }
    if (schema.contains("properties")) {
      EXPECT_EQ(schema["additionalProperties"], false);
      properties += schema["properties"].size();
    }
  });
  EXPECT_GT(properties, 20u);
}

TEST_P(Schema, EveryPropertyIsExplained) {
  each_schema(Json::parse(GetParam()), [&](const Json& schema) {
    if (!schema.contains("properties")) return;
    for (const auto& [name, property] : schema["properties"].items()) {
      if (property.contains("const")) continue;
      EXPECT_FALSE(property.value("description", "").empty()) << name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Configurations, Schema, ::testing::Values(json_schema(), pretrain_json_schema()));

}  // namespace
}  // namespace vpd
