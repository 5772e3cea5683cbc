import { UriTemplate } from '@modelcontextprotocol/sdk/shared/uriTemplate.js'

/**
 * Whether a URI comes from a resource template (RFC 6570). Template and URI are both foreign, and the match is a regular
 * expression that may backtrack: a pair that could cost too many steps counts as no match.
 */
const matchStepsMax = 10_000_000

export function templateMatches(template: string, uri: string): boolean {
  const literal = template.indexOf('{')
  if (literal === -1) return template === uri
  if (!uri.startsWith(template.slice(0, literal)) || stepsAtMost(template, uri.length - literal) > matchStepsMax)
    return false
  try {
    return new UriTemplate(template).match(uri) !== null
  } catch {
    return false
  }
}

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
