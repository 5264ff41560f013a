"""Graph data sets: node, link and graph prediction, knowledge graphs and functional brain networks."""
