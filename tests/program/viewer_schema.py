"""The files that Neuronpedia and circuit-tracer's page read, as JSON Schema, and a check of the part of JSON Schema that it is written in."""

import re

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}

SHARE = {"type": "number", "minimum": 0, "maximum": 1}
TOKENS = {"type": "array", "items": {"type": "string"}}


def record(**properties):
    """An object of exactly these."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


ONE_METADATA = record(
    slug={"type": "string", "pattern": r"^[\w.-]+$"}, scan={"type": "string", "pattern": "."}, transcoder_list={"type": "array", "items": {"type": "string"}}, prompt_tokens=TOKENS,
    prompt={"type": "string"}, node_threshold=SHARE, schema_version={"enum": [1]}, info=record(generator=record(name={"type": "string"}, version={"type": "string"})),
    pruning_settings=record(node_threshold=SHARE, edge_threshold=SHARE))
METADATA = record(graphs={"type": "array", "items": ONE_METADATA})
# Neuronpedia's words for nodes; both viewers choose colours and shapes by them.
NODE_TYPES = ["cross layer transcoder", "mlp reconstruction error", "embedding", "logit"]
NODE_ID = r"^(E|\d+)_(delta)?\d+_\d+$"
NODE = record(
    node_id={"type": "string", "pattern": NODE_ID}, feature={"type": "integer", "minimum": -1}, layer={"type": "string", "pattern": r"^(E|\d+)$"}, ctx_idx={"type": "integer", "minimum": 0},
    feature_type={"enum": NODE_TYPES}, jsNodeId={"type": "string", "pattern": r"^(E|\d+)_(delta)?\d+-0$"}, clerp={"type": "string"}, influence={"type": "number", "minimum": 0, "maximum": 1.000001},
    activation={"type": ["number", "null"]}, token_prob=SHARE, is_target_logit={"type": "boolean"}, run_idx={"type": "integer"}, reverse_ctx_idx={"type": "integer"})
LINK = record(source={"type": "string", "pattern": NODE_ID}, target={"type": "string", "pattern": NODE_ID}, weight={"type": "number"})
GRAPH = record(
    metadata=ONE_METADATA,
    qParams=record(linkType={"enum": ["both"]}, pinnedIds={"type": "array", "items": {"type": "string"}}, clickedId={"type": "string"},
                   supernodes={"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, sg_pos={"type": "string"}),
    nodes={"type": "array", "items": NODE}, links={"type": "array", "items": LINK})
FEATURE = record(
    index={"type": "integer", "minimum": 0}, top_logits=TOKENS, bottom_logits=TOKENS,
    examples_quantiles={"type": "array", "items": record(quantile_name={"type": "string"}, examples={"type": "array", "items": record(
        tokens=TOKENS, tokens_acts_list={"type": "array", "items": {"type": "number"}})})})


def is_of(value, name):
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def mistakes(value, schema, where="$"):
    """Sentences on what is not as the schema says."""
    known = {"type", "enum", "pattern", "minimum", "maximum", "items", "properties", "required", "additionalProperties"}
    assert set(schema) <= known, set(schema) - known
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: expected one of {schema['enum']}, found {value!r}"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_of(value, name) for name in names):
        return [f"{where}: expected {names}, found {value!r}"]
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: expected {schema['pattern']}, found {value!r}")
    if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
        found.append(f"{where}: {value!r} is out of bounds")
    for k, item in enumerate(value if "items" in schema else []):
        found += mistakes(item, schema["items"], f"{where}[{k}]")
    if "properties" in schema:
        found += [f"{where}: {name} is missing" for name in schema["required"] if name not in value]
        found += [f"{where}: {name} is not known" for name in value if name not in schema["properties"]]
        for name, part in schema["properties"].items():
            if name in value:
                found += mistakes(value[name], part, f"{where}.{name}")
    return found


def validate(test, value, schema):
    test.assertEqual(mistakes(value, schema), [])
