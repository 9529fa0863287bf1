// Medians and what they are made of.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// undefined for no values.
export function spread(values) {
  if (values.length === 0)
    return undefined;
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), values };
}

// The latencies of several runs as one histogram: [[upper bound in microseconds, count], ...].
export function mergeBuckets(histograms) {
  const counts = new Map();
  for (const [upper, count] of histograms.flat())
    counts.set(upper, (counts.get(upper) ?? 0) + count);
  return [...counts].sort((a, b) => a[0] - b[0]);
}

// The upper bound of the bucket that holds it; undefined for an empty histogram.
export function percentile(buckets, share) {
  const total = buckets.reduce((sum, [, count]) => sum + count, 0);
  let seen = 0;
  return buckets.find(([, count]) => (seen += count) >= total * share)?.[0];
}

export function latencyOf(histograms) {
  const buckets = mergeBuckets(histograms);
  if (buckets.length === 0)
    return undefined;
  const [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map((share) => percentile(buckets, share));
  return { p50, p90, p99, p999, max: buckets.at(-1)[0], buckets };
}
