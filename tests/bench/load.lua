-- What wrk sends and tells: `wrk ... -s load.lua URL [-- BODY]`; with a body it posts JSON.

init = function(args)
  if args[1] then
    wrk.method = "POST"
    wrk.body = args[1]
    wrk.headers["Content-Type"] = "application/json"
  end
  local request = wrk.format()
  wrk.request = function() return request end
end

done = function(summary, latency)
  local errors = summary.errors
  local told = '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"refused":%d,"broken":%d}\n'
  io.write(string.format(told, summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
