import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'

/**
 * The process and its event loop, under the names that prom-client's own collectors and the usual dashboards have. Those
 * collectors are not used because they can not be stopped: each leaves an observer and a histogram behind.
 */
export class ProcessMetrics {
  readonly #delay = monitorEventLoopDelay({ resolution: 10 })
  readonly #cpuUser: Counter
  readonly #cpuSystem: Counter
  readonly #gauges: ReadonlyMap<GaugeName, Gauge>

  constructor(registry: Registry) {
    const registers = [registry]
    this.#cpuUser = new Counter({
      name: 'process_cpu_user_seconds_total',
      help: 'User CPU time spent in seconds.',
      registers,
    })
    this.#cpuSystem = new Counter({
      name: 'process_cpu_system_seconds_total',
      help: 'System CPU time spent in seconds.',
      registers,
    })
    this.#gauges = new Map(
      Object.entries(gaugeHelp).map(([name, help]) => [name as GaugeName, new Gauge({ name, help, registers })]),
    )
    this.#set('process_start_time_seconds', Math.round(Date.now() / 1000 - process.uptime()))
    this.#delay.enable()
  }

  /** The event loop's figures are of the time since the sample before. */
  sample(): void {
    const { user, system } = process.cpuUsage()
    this.#cpuUser.reset()
    this.#cpuUser.inc(user / 1e6)
    this.#cpuSystem.reset()
    this.#cpuSystem.inc(system / 1e6)
    const memory = process.memoryUsage()
    this.#set('process_resident_memory_bytes', memory.rss)
    this.#set('nodejs_heap_size_total_bytes', memory.heapTotal)
    this.#set('nodejs_heap_size_used_bytes', memory.heapUsed)
    this.#set('nodejs_external_memory_bytes', memory.external)
    this.#set('nodejs_active_resources_total', process.getActiveResourcesInfo().length)
    const seconds = (nanoseconds: number): number => (Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0)
    const measured = this.#delay.count > 0
    this.#set('nodejs_eventloop_lag_mean_seconds', measured ? seconds(this.#delay.mean) : 0)
    this.#set('nodejs_eventloop_lag_max_seconds', measured ? seconds(this.#delay.max) : 0)
    this.#set('nodejs_eventloop_lag_p50_seconds', measured ? seconds(this.#delay.percentile(50)) : 0)
    this.#set('nodejs_eventloop_lag_p99_seconds', measured ? seconds(this.#delay.percentile(99)) : 0)
    this.#delay.reset()
  }

  stop(): void {
    this.#delay.disable()
  }

  #set(name: GaugeName, value: number): void {
    this.#gauges.get(name)?.set(value)
  }
}

const gaugeHelp = {
  process_start_time_seconds: 'Start time of the process since unix epoch in seconds.',
  process_resident_memory_bytes: 'Resident memory size in bytes.',
  nodejs_heap_size_total_bytes: 'Process heap size from Node.js in bytes.',
  nodejs_heap_size_used_bytes: 'Process heap size used from Node.js in bytes.',
  nodejs_external_memory_bytes: 'Node.js external memory size in bytes.',
  nodejs_active_resources_total: 'Total number of active resources.',
  nodejs_eventloop_lag_mean_seconds: 'The mean of the recorded event loop delays.',
  nodejs_eventloop_lag_max_seconds: 'The maximum recorded event loop delay.',
  nodejs_eventloop_lag_p50_seconds: 'The 50th percentile of the recorded event loop delays.',
  nodejs_eventloop_lag_p99_seconds: 'The 99th percentile of the recorded event loop delays.',
} as const
type GaugeName = keyof typeof gaugeHelp
