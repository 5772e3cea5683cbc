import type { JsonText } from '../std/json-text.ts'

/** What a server said of itself, as JSON text untouched: initialize's result and its lists, all pages. */
export type Offer = {
  /** The initialize result: protocolVersion, capabilities, serverInfo, instructions. */
  readonly initialize: JsonText
  /** Arrays of tool, resource, resource template and prompt objects; `[]` where the server has none. */
  readonly tools: JsonText
  readonly resources: JsonText
  readonly resourceTemplates: JsonText
  readonly prompts: JsonText
}
