/** What a new sandbox folder holds, so that the first call of a reader finds something to read. Path to text. */
export const exampleFiles: Readonly<Record<string, string>> = {
  'README.md': `# Sandbox

The files server reads and changes what is in this folder, and nothing outside it.
Try: list with recursive, search for "quorum", or the prompt summarize-folder.
`,
  'notes/consensus.md': `# Consensus in five lines

A majority of the nodes is a quorum; any two quorums share a node.
A leader is elected by a quorum and has the newest committed log.
An entry is committed when a quorum has it on disk.
Acknowledged therefore means: it survives the loss of any minority.
Two of three nodes, or three of five, are enough to go on.
`,
  'notes/todo.md': `# To do

- [x] start three nodes
- [ ] kill the leader and call a tool again
- [ ] put a server of my own behind the cluster
`,
  'reports/stock.csv': `sku,name,stock,reorder_at
A-100,Desk lamp,42,20
A-101,Office chair,7,10
A-102,Standing desk,3,5
A-103,Monitor arm,65,25
A-104,Cable tray,180,60
`,
  'config/shop.json': `{
  "name": "Example shop",
  "currency": "EUR",
  "opening": { "weekdays": "09:00-18:00", "saturday": "10:00-14:00" }
}
`,
}
