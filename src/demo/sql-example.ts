/**
 * The example shop of the SQL server: customers, products, orders and their lines over the two years 2024 and 2025.
 * Made from a fixed seed, so that every start, and every node, has the same rows.
 */
import type { Database, SqlValue } from 'sql.js'

const customerCount = 400
const orderCount = 4000
const firstDay = Date.UTC(2024, 0, 1)
const dayCount = 731
const dayMs = 86_400_000

const schema = `
CREATE TABLE customers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  country TEXT NOT NULL,
  segment TEXT NOT NULL CHECK (segment IN ('private', 'business')),
  joined TEXT NOT NULL
);
CREATE TABLE products (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  category TEXT NOT NULL,
  price REAL NOT NULL CHECK (price > 0)
);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  ordered_on TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('paid', 'shipped', 'returned', 'cancelled'))
);
CREATE TABLE order_lines (
  order_id INTEGER NOT NULL REFERENCES orders (id),
  product_id INTEGER NOT NULL REFERENCES products (id),
  quantity INTEGER NOT NULL CHECK (quantity > 0),
  unit_price REAL NOT NULL,
  PRIMARY KEY (order_id, product_id)
) WITHOUT ROWID;
CREATE INDEX orders_by_day ON orders (ordered_on);
CREATE INDEX orders_by_customer ON orders (customer_id);
`

const firstNames = ['Ada', 'Ben', 'Chiara', 'Dmitri', 'Elif', 'Femke', 'Goran', 'Hana', 'Ines', 'Jonas', 'Kofi', 'Lena']
const lastNames = ['Almeida', 'Berg', 'Costa', 'Dubois', 'Eriksen', 'Fischer', 'Greco', 'Hansen', 'Ito', 'Jansen']
const countries = ['DE', 'FR', 'NL', 'IT', 'ES', 'PL', 'SE', 'AT']
const products: readonly (readonly [name: string, category: string, price: number])[] = [
  ['Desk lamp', 'lighting', 39.9],
  ['Floor lamp', 'lighting', 89],
  ['LED strip', 'lighting', 24.5],
  ['Office chair', 'seating', 249],
  ['Stool', 'seating', 59],
  ['Armchair', 'seating', 429],
  ['Standing desk', 'desks', 549],
  ['Writing desk', 'desks', 199],
  ['Corner desk', 'desks', 329],
  ['Monitor arm', 'accessories', 79.5],
  ['Cable tray', 'accessories', 19.9],
  ['Desk mat', 'accessories', 29],
  ['Bookshelf', 'storage', 149],
  ['Drawer unit', 'storage', 119],
  ['Wall shelf', 'storage', 45],
  ['Filing cabinet', 'storage', 189],
]

/** Creates and fills the tables of an empty database. */
export function fillExample(database: Database): void {
  const random = seededRandom(20_240_101)
  database.run('BEGIN')
  database.run(schema)
  const rows = insertInto(database)
  for (let id = 1; id <= customerCount; id += 1) {
    const name = `${pick(firstNames, random)} ${pick(lastNames, random)}`
    const segment = random() < 0.3 ? 'business' : 'private'
    rows('customers', [id, name, pick(countries, random), segment, dayText(Math.floor(random() * 365) - 365)])
  }
  for (const [index, product] of products.entries()) rows('products', [index + 1, ...product])
  for (let id = 1; id <= orderCount; id += 1) {
    // The exponent makes sales grow over the two years.
    const day = Math.floor(random() ** 0.75 * dayCount)
    rows('orders', [id, 1 + Math.floor(random() * customerCount), dayText(day), statusOf(random())])
    const first = Math.floor(random() * products.length)
    const lines = 1 + Math.floor(random() * 4)
    for (let line = 0; line < lines; line += 1) {
      const index = (first + line * 5) % products.length
      const price = products[index]?.[2] ?? 0
      const discount = random() < 0.15 ? 0.9 : 1
      rows('order_lines', [id, index + 1, 1 + Math.floor(random() * 3), Math.round(price * discount * 100) / 100])
    }
  }
  rows.free()
  database.run('COMMIT')
}

type InsertRow = ((table: string, values: SqlValue[]) => void) & { free(): void }

function insertInto(database: Database): InsertRow {
  const statements = new Map<string, ReturnType<Database['prepare']>>()
  const insert = (table: string, values: SqlValue[]): void => {
    const text = `INSERT INTO ${table} VALUES (${values.map(() => '?').join(', ')})`
    const statement = statements.get(table) ?? database.prepare(text)
    statements.set(table, statement)
    statement.run(values)
  }
  return Object.assign(insert, { free: () => statements.forEach((statement) => statement.free()) })
}

function statusOf(share: number): string {
  if (share < 0.05) return 'cancelled'
  if (share < 0.12) return 'returned'
  return share < 0.3 ? 'paid' : 'shipped'
}

function dayText(day: number): string {
  return new Date(firstDay + day * dayMs).toISOString().slice(0, 10)
}

function pick(values: readonly string[], random: () => number): string {
  return values[Math.floor(random() * values.length)] ?? ''
}

/** A linear congruential generator (Numerical Recipes' constants): plain, and the same everywhere. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}
