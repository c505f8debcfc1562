#pragma once

#include "edit_source.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {

/// Names, labels and stages of nodes.
void name_nodes(GraphResult& result, const EditSource& source);

/// The clusters of this checkpoint that have several of the graph's nodes. Throws DataError where they were
/// made of other weights.
void add_clusters(GraphResult& result, const EditSource& source);

/// What a harvest knows of the subcomponents that are drawn.
void add_examples(GraphResult& result, const EditSource& source);

}  // namespace vpd
