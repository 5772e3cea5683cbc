/**
 * The kinds of configuration keys. Each makes a zod schema and notes beside it what the messages, the overrides and
 * `config show` need to know: kind, default, unit, what is expected, what the key is for.
 */
import { z } from 'zod'

export type KeyNote = {
  readonly kind: 'number' | 'boolean' | 'text' | 'list' | 'map'
  /** Follows "expected" in a message, with an example where it helps. */
  readonly expected: string
  /** What the key is for, one phrase. */
  readonly about: string
  /** What holds when the key is not given; null: nothing. */
  readonly default: string | number | boolean | readonly string[] | Readonly<Record<string, string>> | null
}

type About<T> = { readonly default: T; readonly about: string }
type TextRule = { readonly expected: string; readonly test: (text: string) => boolean }

const notes = new WeakMap<object, KeyNote>()

/** The note of a key's schema; undefined for the sections that hold keys. */
export function noteOf(schema: z.ZodType): KeyNote | undefined {
  return notes.get(schema)
}

type NumberRule = { readonly unit: string; readonly min: number; readonly max: number }

export function wholeNumber(rule: About<number> & NumberRule): z.ZodDefault<z.ZodNumber> {
  const schema = z.number().int().min(rule.min).max(rule.max).default(rule.default)
  return noted(schema, { kind: 'number', about: rule.about, default: rule.default, expected: numberText(rule) })
}

export function optionalWholeNumber(
  rule: { readonly about: string } & NumberRule,
): z.ZodDefault<z.ZodNullable<z.ZodNumber>> {
  const schema = z.number().int().min(rule.min).max(rule.max).nullable().default(null)
  return noted(schema, { kind: 'number', about: rule.about, default: null, expected: numberText(rule) })
}

/** Rules for the kinds of text. */
export const filled = { expected: 'text that is not empty', test: (value: string) => value !== '' }
export const labels = { expected: 'a map of texts, for example {zone: a}', test: (value: string) => value !== '' }

export function oneOf(values: readonly string[]): { expected: string; test: (value: string) => boolean } {
  return { expected: `one of ${values.join(', ')}`, test: (value) => values.includes(value) }
}

/** A number, or text with a unit of 1024s. */
export function optionalBytes(
  rule: { readonly about: string } & Omit<NumberRule, 'unit'>,
): z.ZodDefault<z.ZodType<number | null, unknown>> {
  const number = z.number().int().min(rule.min).max(rule.max).nullable()
  const expected = `${numberText({ ...rule, unit: 'bytes' })}, or text with KiB, MiB or GiB, for example 16GiB`
  const schema = z.preprocess(bytesOf, number).default(null)
  return noted(schema, { kind: 'number', about: rule.about, default: null, expected })
}

export function flag(rule: About<boolean>): z.ZodDefault<z.ZodBoolean> {
  const schema = z.boolean().default(rule.default)
  return noted(schema, { kind: 'boolean', about: rule.about, default: rule.default, expected: 'true or false' })
}

export function text<T extends string = string>(rule: About<NoInfer<T>> & TextRule): z.ZodDefault<z.ZodType<T, T>> {
  const schema = z.custom<T>((value) => typeof value === 'string' && rule.test(value)).default(() => rule.default)
  return noted(schema, { kind: 'text', about: rule.about, default: rule.default, expected: rule.expected })
}

export function optionalText<T extends string = string>(
  rule: { readonly about: string } & TextRule,
): z.ZodDefault<z.ZodNullable<z.ZodType<T, T>>> {
  const schema = z
    .custom<T>((value) => typeof value === 'string' && rule.test(value))
    .nullable()
    .default(null)
  return noted(schema, { kind: 'text', about: rule.about, default: null, expected: rule.expected })
}

export function textList(rule: { readonly about: string } & TextRule): z.ZodDefault<z.ZodArray<z.ZodType<string>>> {
  const item = z.custom<string>((value) => typeof value === 'string' && rule.test(value))
  return noted(z.array(item).default([]), { kind: 'list', about: rule.about, default: [], expected: rule.expected })
}

export function textMap(
  rule: { readonly about: string } & TextRule,
): z.ZodDefault<z.ZodRecord<z.ZodString, z.ZodType<string>>> {
  const value = z.custom<string>((text) => typeof text === 'string' && rule.test(text))
  const schema = z.record(z.string(), value).default({})
  return noted(schema, { kind: 'map', about: rule.about, default: {}, expected: rule.expected })
}

function noted<S extends z.ZodType>(schema: S, note: KeyNote): S {
  notes.set(schema, note)
  return schema
}

function bytesOf(value: unknown): unknown {
  const [, digits, unit] = (typeof value === 'string' ? /^(\d+)([KMG])iB$/.exec(value) : null) ?? []
  return digits === undefined ? value : Number(digits) * 1024 ** ('KMG'.indexOf(unit ?? '') + 1)
}

function numberText(rule: NumberRule): string {
  return `a whole number of ${rule.unit} from ${rule.min} to ${rule.max}`
}
