import { afterEach, describe, expect, it } from 'vitest'
import { Metrics } from '../../src/admin/metrics.ts'
import { sampleOfOne, startAdmin } from './scripted.ts'

const made: Metrics[] = []
afterEach(() => {
  for (const metrics of made.splice(0)) metrics.stop()
})
function make(): Metrics {
  const metrics = new Metrics()
  made.push(metrics)
  return metrics
}

describe('the metrics', () => {
  it('show the sample under names of ours, and the process under the usual ones', async () => {
    const text = await make().text(sampleOfOne)
    for (const line of [
      'quorate_node{node="n1",version="0.1.0"} 1',
      'quorate_raft_role{role="leader"} 1',
      'quorate_raft_role{role="follower"} 0',
      'quorate_raft_has_leader 1',
      'quorate_raft_term 3',
      'quorate_raft_commit_index 12',
      'quorate_raft_applied_index 11',
      'quorate_raft_last_index 13',
      'quorate_raft_log_bytes 4096',
      'quorate_raft_elections_total 2',
      'quorate_raft_proposals_total 9',
      'quorate_raft_refusals_total 1',
      'quorate_raft_appended_entries_total 13',
      'quorate_raft_persist_batches_total 7',
      'quorate_raft_persist_syncs_total 6',
      'quorate_raft_persist_seconds_total 1.5',
      'quorate_raft_oldest_write_seconds 0.25',
      'quorate_raft_persist_sync_p99_seconds 0.04',
      'quorate_disk_stalls_total 4',
      'quorate_disk_stall_handovers_total 1',
      'quorate_disk_free_bytes 123456',
      'quorate_disk_full 1',
      'quorate_quarantined 1',
      'quorate_scrubbed_bytes_total 5000',
      'quorate_scrub_rounds_total 5',
      'quorate_damage_found_total 3',
      'quorate_damage_mended_total 2',
      'quorate_raft_snapshots_total{direction="saved"} 11',
      'quorate_raft_snapshots_total{direction="sent"} 12',
      'quorate_raft_snapshots_total{direction="received"} 14',
      'quorate_raft_snapshot_bytes_total{direction="saved"} 1100',
      'quorate_raft_snapshot_bytes_total{direction="sent"} 1200',
      'quorate_raft_snapshot_bytes_total{direction="received"} 1400',
      'quorate_raft_frames_total{direction="rejected"} 3',
      'quorate_peer_frames_total{direction="in"} 10',
      'quorate_peer_frames_total{direction="out"} 20',
      'quorate_peer_frames_total{direction="rejected"} 4',
      'quorate_peer_notifications_dropped_total 5',
      'quorate_members{status="alive"} 2',
      'quorate_members{status="left"} 3',
      'quorate_join_tokens{status="usable"} 2',
      'quorate_join_tokens{status="used-up"} 4',
      'quorate_join_token_uses 6',
      'quorate_autopilot_active 1',
      'quorate_autopilot_voter_target 5',
      'quorate_autopilot_failure_tolerance 2',
      'quorate_autopilot_holds 3',
      'quorate_autopilot_changes_total{change="promote"} 4',
      'quorate_autopilot_changes_total{change="remove"} 6',
      'quorate_autopilot_refusals_total 7',
      'quorate_gossip_local_health 1',
      'quorate_gossip_lanes 4',
      'quorate_gossip_probes_total 50',
      'quorate_gossip_probes_failed_total 2',
      'quorate_gossip_indirect_probes_total 6',
      'quorate_gossip_refutations_total 1',
      'quorate_gossip_messages_total{direction="in"} 70',
      'quorate_gossip_messages_total{direction="refused"} 9',
      'quorate_gossip_bytes_total{direction="out"} 8000',
      'quorate_raft_connected_peers 2',
      'quorate_raft_loop_delay_seconds 0.02',
      'quorate_raft_snapshot_index 10',
      'quorate_raft_voters 3',
      'quorate_raft_learners 1',
      'quorate_raft_configuration_changing 1',
      'quorate_raft_changes_total 7',
      'quorate_raft_transfers_total 6',
      'quorate_reads_total 20',
      'quorate_reads_failed_total 2',
      'quorate_read_requests_total 5',
      'quorate_snapshots_total{direction="taken"} 3',
      'quorate_snapshots_total{direction="restored"} 1',
      'quorate_snapshot_seconds_total 0.25',
      'quorate_snapshot_bytes 1234',
      'quorate_snapshot_longest_slice_seconds 0.004',
      'quorate_idempotency_keys 8',
      'quorate_kv_watches 9',
      'quorate_state_checked_index 8192',
      'quorate_state_diverged 1',
      'quorate_node_phase{phase="serving"} 0',
      'quorate_node_phase{phase="closing"} 1',
      'quorate_in_flight 7',
      'quorate_peer_behind_total 6',
      'quorate_kept_calls{state="unattended"} 1',
      'quorate_kept_calls{state="ended"} 2',
      'quorate_kept_call_bytes 300',
      'quorate_calls_resumed_total 4',
      'quorate_calls_given_up_total 5',
      'quorate_call_events_lost_total 6',
      'quorate_mails 7',
      'quorate_mail_bytes 800',
      'quorate_mails_lost_total 9',
      'quorate_sessions 4',
      'quorate_sessions_opened_total 6',
      'quorate_session_seeks_total 2',
      'quorate_session_touches_total 9',
      'quorate_upstream_status{server="files",status="ready"} 1',
      'quorate_upstream_status{server="sql",status="ready"} 0',
      'quorate_upstream_status{server="sql",status="failed"} 1',
      'quorate_upstream_sessions{server="files"} 8',
      'quorate_questions 3',
    ]) {
      expect(text.split('\n')).toContain(line)
    }
    for (const name of [
      'process_cpu_user_seconds_total',
      'process_resident_memory_bytes',
      'process_start_time_seconds',
    ])
      expect(text).toMatch(new RegExp(`^${name} [0-9.e+]+$`, 'm'))
    expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds [0-9.e-]+$/m)
  })

  it('show the counts of the sample, not their sum, when they are read twice', async () => {
    const metrics = make()
    await metrics.text(sampleOfOne)
    const text = await metrics.text({ ...sampleOfOne, upstreams: { servers: [], questionsNow: 0 } })
    expect(text).toContain('\nquorate_raft_elections_total 2\n')
    expect(text).not.toContain('server="files"')
  })

  it('show zeros and no role before the cluster has formed', async () => {
    const text = await make().text({ ...sampleOfOne, raft: null })
    expect(text).toContain('\nquorate_raft_term 0\n')
    expect(text).not.toMatch(/quorate_raft_role\{role="[a-z-]+"\} 1/)
  })

  it('count calls by server and outcome, and time them', async () => {
    const metrics = make()
    metrics.callEnded({ server: 'files', outcome: 'result', seconds: 0.02 })
    metrics.callEnded({ server: 'files', outcome: 'result', seconds: 2 })
    metrics.callEnded({ server: 'files', outcome: 'unknown', seconds: 100 })
    const text = await metrics.text(sampleOfOne)
    expect(text).toContain('quorate_calls_total{server="files",outcome="result"} 2\n')
    expect(text).toContain('quorate_calls_total{server="files",outcome="unknown"} 1\n')
    expect(text).toContain('quorate_call_duration_seconds_bucket{le="0.025",server="files"} 1\n')
    expect(text).toContain('quorate_call_duration_seconds_count{server="files"} 3\n')
  })

  it('give at most 256 servers a label of their own', async () => {
    const metrics = make()
    for (let at = 0; at < 300; at += 1) metrics.callEnded({ server: `s${at}`, outcome: 'result', seconds: 0 })
    metrics.callEnded({ server: 's0', outcome: 'result', seconds: 0 })
    const text = await metrics.text(sampleOfOne)
    expect(text.match(/^quorate_calls_total\{/gm)).toHaveLength(257)
    expect(text).toContain('quorate_calls_total{server="other",outcome="result"} 44\n')
    expect(text).toContain('quorate_calls_total{server="s0",outcome="result"} 2\n')
  })

  it('are served at /metrics as Prometheus text', async () => {
    const running = await startAdmin({ sample: () => sampleOfOne })
    running.metrics.callEnded({ server: 'files', outcome: 'error', seconds: 1 })
    const { status, headers, text } = await running.send({ path: '/metrics' })
    await running.stop()
    expect(status).toBe(200)
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/)
    expect(text).toContain('quorate_calls_total{server="files",outcome="error"} 1\n')
  })
})
