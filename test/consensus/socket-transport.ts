import type { ConsensusPorts } from '../../src/consensus/ports.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import { silentLog } from '../../src/log/log.ts'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import { WebSocketTransport, transportDefaults } from '../../src/transport/websocket-transport.ts'
import { raftLanes } from '../../src/wire/limits.ts'

let seeds = 0

/** The transport of the consensus thread, on a free loopback port. */
export function socketTransport(link: Parameters<ConsensusPorts['makeTransport']>[0]): WebSocketTransport {
  return new WebSocketTransport({
    ...transportDefaults,
    ...link,
    listen: { host: '127.0.0.1', port: 0 },
    kind: 'raft',
    lanes: raftLanes,
    secret: ClusterSecret.from('a secret of at least thirty-two bytes'),
    log: silentLog,
    clock: realClock,
    random: new Random((seeds += 1)),
    heartbeatMs: 40,
    livenessMs: 1000,
  })
}
