/** Groups that one server is in, and the longest name of one in UTF-16 units; all nodes must agree on both. */
export const groupsMax = 64
export const groupLengthMax = 64
