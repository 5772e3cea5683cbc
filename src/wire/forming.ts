import type { ClusterId, NodeId } from '../vocabulary/ids.ts'

/**
 * What nodes say to each other until their cluster has formed (decided by consensus/forming). The lowest id proposes, each
 * voter answers once its promise is durable, and `formed` tells that all have: entry 1 may be written.
 */
export type FormingMessage =
  | { readonly kind: 'form-propose'; readonly clusterId: ClusterId; readonly voters: readonly NodeId[] }
  | { readonly kind: 'form-promised'; readonly clusterId: ClusterId }
  /** `why` is a sentence for the operator. */
  | { readonly kind: 'form-refused'; readonly why: string }
  | { readonly kind: 'formed'; readonly clusterId: ClusterId }
