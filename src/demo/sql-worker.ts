/**
 * The thread that holds the SQLite database (sql.js: WASM, in memory). It runs one request at a time and answers each
 * once. It never gives up by itself: a statement that runs too long is ended by ending the thread (sql-database.ts),
 * which is why every committed change is sent out as the database's bytes.
 */
import { parentPort, workerData } from 'node:worker_threads'
import initSqlJs, { type Database, type SqlValue, type Statement } from 'sql.js'
import { fillExample } from './sql-example.ts'

export type SqlRequest =
  | { kind: 'query'; sql: string; params: SqlParams; rowsMax: number; bytesMax: number }
  | { kind: 'execute'; sql: string; params: SqlParams }
export type SqlParams = SqlValue[] | Record<string, SqlValue>
export type Rows = { columns: string[]; rows: (string | number | null)[][]; truncated: boolean }
export type SqlReply =
  | { kind: 'ready' }
  | { kind: 'rows'; result: Rows }
  | { kind: 'executed'; changes: number; image: Uint8Array }
  | { kind: 'refused'; reason: string }

/** 16 MiB in pages of 4 KiB: what `execute` may grow the database to. */
const pagesMax = 4096

const port = parentPort
if (port === null) throw new Error('sql-worker runs as a worker thread')
const image = workerData as Uint8Array | null
const sql = await initSqlJs()
const database = new sql.Database(image)
if (image === null) fillExample(database)
configure(database)
port.on('message', (request: SqlRequest) => port.postMessage(reply(request)))
port.postMessage({ kind: 'ready' } satisfies SqlReply)

function reply(request: SqlRequest): SqlReply {
  try {
    if (request.kind === 'query') return { kind: 'rows', result: query(request) }
    return execute(request)
  } catch (cause) {
    return { kind: 'refused', reason: cause instanceof Error ? cause.message : String(cause) }
  }
}

function query(request: Extract<SqlRequest, { kind: 'query' }>): Rows {
  database.run('PRAGMA query_only = ON')
  const statement = single(request.sql)
  try {
    statement.bind(request.params)
    const rows: Rows['rows'] = []
    let bytes = 0
    while (statement.step()) {
      if (rows.length === request.rowsMax) return { columns: statement.getColumnNames(), rows, truncated: true }
      const row = statement.get()
      for (const value of row) bytes += typeof value === 'string' || value instanceof Uint8Array ? value.length : 8
      if (bytes > request.bytesMax) {
        if (rows.length === 0) throw new Error(`one row alone is larger than ${request.bytesMax} bytes`)
        return { columns: statement.getColumnNames(), rows, truncated: true }
      }
      rows.push(row.map(plainValue))
    }
    return { columns: statement.getColumnNames(), rows, truncated: false }
  } finally {
    statement.free()
  }
}

function execute(request: Extract<SqlRequest, { kind: 'execute' }>): SqlReply {
  database.run('PRAGMA query_only = OFF')
  database.run('BEGIN')
  try {
    const before = totalChanges()
    const statement = single(request.sql)
    try {
      statement.run(request.params)
    } finally {
      statement.free()
    }
    const changes = totalChanges() - before
    database.run('COMMIT')
    const bytes = database.export()
    // export reopens the database, which forgets the settings of the connection.
    configure(database)
    return { kind: 'executed', changes, image: bytes }
  } catch (cause) {
    try {
      database.run('ROLLBACK')
    } catch {
      // SQLite has rolled back by itself, as after a full database.
    }
    throw cause
  }
}

/** Prepares the one statement of the text. More than one, or none, is refused. */
function single(text: string): Statement {
  let count = 0
  // To its end, even after the second: that is what frees the iterator's memory.
  for (const _ of database.iterateStatements(text)) count += 1
  if (count !== 1) throw new Error(count === 0 ? 'there is no statement in the text' : 'only one statement at a time')
  return database.prepare(text)
}

function totalChanges(): number {
  return Number(database.exec('SELECT total_changes()')[0]?.values[0]?.[0] ?? 0)
}

function configure(target: Database): void {
  target.run(`PRAGMA foreign_keys = ON; PRAGMA max_page_count = ${pagesMax}`)
}

function plainValue(value: SqlValue): string | number | null {
  return value instanceof Uint8Array ? `x'${Buffer.from(value).toString('hex')}'` : value
}
