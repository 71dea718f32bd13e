-- Applies a batch of events, forward only, and publishes the pushes of what it applied: one round trip.
--
-- KEYS  1: hash of applied offsets by partition; then two per event: the cursor that moves and another key
--       that moves with it (a change id or a head; the cursor's again where there is none).
-- ARGV  channel ('' publishes nothing), time in ns, number of partitions,
--       for each partition its number and the offset after this batch,
--       for each event: partition, offset, read_seq, delivered_seq, version, what the other key is, two values
--       for it, pushes (JSON without the brackets of the array, or '').
-- An event below its partition's applied offset was applied before: skipped, with its pushes.  Offset -1 comes
-- from MySQL and is always applied, but told only if its change is news; then <cid>:told keeps the change for a
-- day, so that its own event, which may be in the log yet, does not tell it again.  Numbers stay the strings
-- that they came as; only comparisons make numbers of them.
-- Returns how many events were applied.

local call, number = redis.call, tonumber

local function newer(a, b)
  if number(a) > number(b) then return a end
  return b
end

local function move_cursor(key, read, delivered, version)
  delivered = newer(delivered, read)  -- reading implies delivery
  local held = call('GET', key)
  if held then
    local r, d, v = string.match(held, '^(%d+),(%d+),(%d+)$')
    read, delivered, version = newer(read, r), newer(delivered, d), newer(version, v)
  end
  local value = read .. ',' .. delivered .. ',' .. version
  if value ~= held then call('SET', key, value) end
end

local function move_head(key, seq, sent_ms)
  local held = call('GET', key)
  if not held or number(seq) > number(string.match(held, '^%d+')) then
    call('SET', key, seq .. ',' .. sent_ms)
  end
end

-- "17 19 20": everything up to change 17 is applied, 19 and 20 are too, 18 is still on its way (it came
-- through another server).  After 100 that wait, the missing one is given up: its server died before it sent.
-- Returns whether the change is news.
local function move_change(key, id, complete)
  local held = call('GET', key)
  local new, upto = number(id), number(held or id)
  if not held or new - 1 == upto then  -- "17 19" is no number
    call('SET', key, id)
    return true
  end
  local rest = ''
  if not upto then
    upto, rest = string.match(held, '^(%d+)(.*)$')
    upto = number(upto)
  end
  if new <= upto then return false end
  local waiting, count, highest = {}, 0, 0
  for word in string.gmatch(rest, '%d+') do waiting[number(word)] = true end
  local news = not waiting[new]
  if complete then upto = new else waiting[new] = true end
  while waiting[upto + 1] do upto = upto + 1 end
  local later = {}
  for waits in pairs(waiting) do
    if waits > upto then
      count = count + 1
      later[count] = waits
      if waits > highest then highest = waits end
    end
  end
  if count > 100 then upto, later = highest, {} end
  table.sort(later)
  local value = string.format('%.0f', upto)
  for i = 1, #later do value = value .. string.format(' %.0f', later[i]) end
  call('SET', key, value)
  return news
end

local function must_tell(offset, cid, id, news)
  local told = cid .. ':told'
  if offset >= 0 then return news or call('SREM', told, id) == 0 end
  if news then
    call('SADD', told, id)
    call('EXPIRE', told, 86400)
  end
  return news
end

local offsets, channel, time, partitions = KEYS[1], ARGV[1], ARGV[2], number(ARGV[3])
local applied = {}
for i = 1, partitions do
  local partition = ARGV[2 + 2 * i]
  applied[partition] = number(call('HGET', offsets, partition) or 0)
end

local tell, told, done = {}, 0, 0
local at = 3 + 2 * partitions
for i = 2, #KEYS, 2 do
  local offset = number(ARGV[at + 2])
  if offset < 0 or offset >= applied[ARGV[at + 1]] then
    done = done + 1
    move_cursor(KEYS[i], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
    local other, tells = ARGV[at + 6], ARGV[at + 9] ~= ''
    if other == 'change' then
      local cid, id = KEYS[i + 1], ARGV[at + 7]
      tells = must_tell(offset, cid, id, move_change(cid, id, false)) and tells
    elseif other == 'changes' then
      move_change(KEYS[i + 1], ARGV[at + 7], true)
    elseif other == 'head' then
      move_head(KEYS[i + 1], ARGV[at + 7], ARGV[at + 8])
    end
    if tells then
      told = told + 1
      tell[told] = ARGV[at + 9]
    end
  end
  at = at + 9
end

for i = 1, partitions do
  local partition, following = ARGV[2 + 2 * i], ARGV[3 + 2 * i]
  if number(following) > applied[partition] then call('HSET', offsets, partition, following) end
end
if told > 0 and channel ~= '' then
  call('PUBLISH', channel, '{"at_ns":' .. time .. ',"tell":[' .. table.concat(tell, ',') .. ']}')
end
return done
