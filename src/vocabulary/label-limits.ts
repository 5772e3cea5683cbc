/** Labels of one node, and the longest name or value of one in UTF-16 units; all nodes must agree on both. */
export const labelsMax = 64
export const labelLengthMax = 256
