/**
 * A node that is going to be killed: runs the fixture given as the second argument with the data directory given as the
 * first, prints the tool result of `pids` as one line, and waits. Started through tsx by processes.test.ts.
 */
import { startUpstreams, stdioServer, resultOf } from './upstreams-under-test.ts'

const [dataDir, fixture] = process.argv.slice(2)
const test = await startUpstreams([stdioServer(fixture, { LEAK_STUBBORN: '1' })], {}, dataDir)
await test.ready(fixture)
process.stdout.write(`${JSON.stringify(resultOf(await test.call(fixture, 'pids')).structuredContent)}\n`)
setInterval(() => undefined, 1000)
