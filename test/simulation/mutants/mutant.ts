/**
 * One bug, as one replacement in one file. It is only worth its place while its text is found in the source exactly once;
 * and the simulation, or the test that is named, has to catch it within its budget.
 */
export type Mutant = {
  readonly name: string
  /** Its class: B1 to B34 happened in other systems; see docs/TESTING.md. */
  readonly bug: string
  readonly what: string
  readonly file: string
  readonly search: string
  readonly replace: string
  /** How many seeds may be needed, from the first on; or the plan, or the test file, that has to fail. */
  readonly within: number | string
}
