import { UriTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js'

/**
 * Whether a URI comes from a resource template (RFC 6570). Templates and URI are both foreign, and each match is a regular
 * expression that may backtrack: a template that could cost more steps than are left counts as no match.
 */
export class TemplateMatcher {
  readonly #uri: string
  #stepsLeft = matchStepsMax

  constructor(uri: string) {
    this.#uri = uri
  }

  matches(template: string): boolean {
    const uri = this.#uri
    const literal = template.indexOf('{')
    if (literal === -1) return template === uri
    if (!uri.startsWith(template.slice(0, literal))) return false
    const steps = stepsAtMost(template, uri.length - literal)
    if (steps > this.#stepsLeft) return false
    this.#stepsLeft -= steps
    try {
      return new UriTemplate(template).match(uri) !== null
    } catch {
      return false
    }
  }
}

/** For one URI against all templates. */
const matchStepsMax = 10_000_000

/**
 * An upper bound of the backtracking: `length^n / n!`, n being how many expressions may share out the same characters.
 * A simple expression stops at `/`, so only those of one path segment compete; reserved and query ones compete with all.
 */
function stepsAtMost(template: string, length: number): number {
  const expressions = template.match(/\{[^}]*\}/g) ?? []
  const reachFar = expressions.some((expression) => /^\{[+#?&./]/.test(expression) || expression.includes('*'))
  const competing = reachFar
    ? expressions.length
    : 1 +
      template
        .split('/')
        .map((segment) => (segment.match(/\{/g)?.length ?? 0) - 1)
        .reduce((sum, extra) => sum + Math.max(0, extra), 0)
  let steps = 1
  for (let n = 1; n <= competing; n += 1) steps = (steps * length) / n
  return Math.max(steps, length)
}
