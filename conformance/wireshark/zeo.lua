-- A Wireshark dissector for ZEO, the protocol of ZODB's client-server storage: ZEO 4 to 6, in pickle and msgpack.
--
--   tshark -X lua_script:zeo.lua -r session.pcapng
--   wireshark -X lua_script:zeo.lua, or put the file into the folder of personal Lua plugins
--
-- Conversations are recognised by their greetings; where these were not captured, by the ports in the preferences, or
-- by "Decode As". A frame is a length of four bytes, in ZEO 4 perhaps a MAC, and a message:
-- (id, flag, method, arguments), where a reply has ".reply" for its method.

local zeo = Proto("zeo", "ZEO (ZODB client-server storage)")

local f = {
  length = ProtoField.uint32("zeo.length", "Length", base.DEC),
  mac = ProtoField.bytes("zeo.mac", "MAC"),
  greeting = ProtoField.string("zeo.greeting", "Greeting"),
  framing = ProtoField.string("zeo.framing", "Encoding"),
  id = ProtoField.string("zeo.id", "Message id"),
  flag = ProtoField.string("zeo.flag", "Flag"),
  method = ProtoField.string("zeo.method", "Method"),
  kind = ProtoField.string("zeo.kind", "Kind"),
  oid = ProtoField.string("zeo.oid", "Oid"),
  tid = ProtoField.string("zeo.tid", "Tid"),
  value = ProtoField.string("zeo.value", "Value"),
  data_len = ProtoField.uint32("zeo.data_len", "Length of the record", base.DEC),
  call_frame = ProtoField.framenum("zeo.call_frame", "Call in", base.NONE, frametype.REQUEST),
  latency = ProtoField.relative_time("zeo.latency", "Time since the call"),
}
zeo.fields = f
local malformed = ProtoExpert.new("zeo.malformed", "Cannot be read", expert.group.MALFORMED, expert.severity.ERROR)
zeo.experts = { malformed }
zeo.prefs.ports = Pref.range("TCP ports", "8100", "Ports of servers whose conversations may lack their beginning", 65535)

local stream_field = Field.new("tcp.stream")

-- What arguments and results are called. Names that end with "oid" or are tids become fields to filter by.
local ARGUMENTS = {
  register = { "storage", "read only", "credentials" },
  loadBefore = { "oid", "before" },
  loadSerial = { "oid", "serial" },
  getTid = { "oid" },
  history = { "oid", "size" },
  getInvalidations = { "tid" },
  tpc_begin = { "transaction", "user", "description", "extension", "tid", "status" },
  storea = { "oid", "serial", "data", "transaction" },
  restorea = { "oid", "serial", "data", "previous tid", "transaction" },
  deleteObject = { "oid", "serial", "transaction" },
  checkCurrentSerialInTransaction = { "oid", "serial", "transaction" },
  undoa = { "undone", "transaction" },
  vote = { "transaction" },
  tpc_finish = { "transaction" },
  tpc_abort = { "transaction" },
  storeBlobChunk = { "chunk" },
  storeBlobEnd = { "oid", "serial", "data", "transaction" },
  storeBlobShared = { "oid", "serial", "data", "file", "transaction" },
  sendBlob = { "oid", "serial" },
  receiveBlobStart = { "oid", "serial" },
  receiveBlobChunk = { "oid", "serial", "chunk" },
  receiveBlobStop = { "oid", "serial" },
  invalidateTransaction = { "tid", "oids" },
  info = { "changes" },
  new_oids = { "count" },
  set_client_label = { "label" },
  undoLog = { "first", "last" },
  undoInfo = { "first", "last", "specification" },
  pack = { "time", "wait" },
  iterator_start = { "start tid", "stop tid" },
  iterator_next = { "iterator" },
  iterator_record_start = { "iterator", "tid" },
  iterator_record_next = { "iterator" },
  iterator_gc = { "iterators" },
  record_iternext = { "oid" },
}
local RESULTS = {
  loadBefore = { "data", "serial", "end tid" },
  getInvalidations = { "tid", "oids" },
  iterator_next = { "tid", "status", "user", "description", "extension" },
  iterator_record_next = { "oid", "tid", "data", "data tid" },
  record_iternext = { "oid", "serial", "data", "next oid" },
}
local SINGLE_RESULTS = { register = "tid", lastTransaction = "tid", getTid = "serial", tpc_finish = "tid" }

-- Values ---------------------------------------------------------------------------------------------------------------
--
-- A value is a table: kind, where it lies (at, len), and v (a Lua value) or items (of sequences; of dicts keys and values in
-- turn). Readers raise errors as tables, { at, why }.

local DEPTH_MAX, COUNT_MAX = 50, 20000

local function fail(at, why)
  error({ at = at, why = why }, 0)
end

local function part(bytes, at, len)
  if at + len > bytes:len() then
    fail(at, "the message ends within a value")
  end
  return bytes(at, len)
end

local function raw(range)
  return range:len() > 0 and range:bytes():raw() or ""
end

local function signed(bytes)
  -- Little-endian, two's complement; what does not fit becomes a number near to it.
  local number, len = 0, #bytes
  for index = len, 1, -1 do
    number = number * 256 + bytes:byte(index)
  end
  if len > 0 and bytes:byte(len) >= 128 then
    number = number - 256 ^ len
  end
  return number
end

local function number_text(number)
  if type(number) == "number" and number == math.floor(number) and math.abs(number) < 2 ^ 53 then
    return string.format("%d", number)
  end
  return tostring(number)
end

-- msgpack

local read_msgpack

local function msgpack_items(bytes, at, start, count, kind, depth, budget)
  local items = {}
  for _ = 1, count do
    local item
    item, at = read_msgpack(bytes, at, depth + 1, budget)
    items[#items + 1] = item
  end
  return { kind = kind, items = items, at = start, len = at - start }, at
end

function read_msgpack(bytes, at, depth, budget)
  budget.count = budget.count + 1
  if depth > DEPTH_MAX or budget.count > COUNT_MAX then
    fail(at, "too many values, or too deep")
  end
  local start = at
  local code = part(bytes, at, 1):uint()
  at = at + 1
  local function uint(len)
    local range = part(bytes, at, len)
    at = at + len
    return len == 8 and range:uint64():tonumber() or range:uint()
  end
  local function string_of(len, kind)
    local range = part(bytes, at, len)
    at = at + len
    return { kind = kind, v = raw(range), at = start, len = at - start }, at
  end
  local function simple(kind, value)
    return { kind = kind, v = value, at = start, len = at - start }, at
  end
  if code <= 0x7f then return simple("int", code) end
  if code <= 0x8f then return msgpack_items(bytes, at, start, 2 * (code - 0x80), "dict", depth, budget) end
  if code <= 0x9f then return msgpack_items(bytes, at, start, code - 0x90, "list", depth, budget) end
  if code <= 0xbf then return string_of(code - 0xa0, "text") end
  if code >= 0xe0 then return simple("int", code - 0x100) end
  if code == 0xc0 then return simple("none") end
  if code == 0xc2 or code == 0xc3 then return simple("bool", code == 0xc3) end
  if code >= 0xc4 and code <= 0xc6 then return string_of(uint(2 ^ (code - 0xc4)), "bytes") end
  if code == 0xca or code == 0xcb then
    local len = code == 0xca and 4 or 8
    local range = part(bytes, at, len)
    at = at + len
    return simple("float", range:float())
  end
  if code >= 0xcc and code <= 0xcf then return simple("int", uint(2 ^ (code - 0xcc))) end
  if code >= 0xd0 and code <= 0xd3 then
    local len = 2 ^ (code - 0xd0)
    local range = part(bytes, at, len)
    at = at + len
    return simple("int", len == 8 and range:int64():tonumber() or range:int())
  end
  if code >= 0xd9 and code <= 0xdb then return string_of(uint(2 ^ (code - 0xd9)), "text") end
  if code == 0xdc or code == 0xdd then
    return msgpack_items(bytes, at, start, uint(code == 0xdc and 2 or 4), "list", depth, budget)
  end
  if code == 0xde or code == 0xdf then
    return msgpack_items(bytes, at, start, 2 * uint(code == 0xde and 2 or 4), "dict", depth, budget)
  end
  fail(start, string.format("msgpack byte 0x%02x", code))
end

-- pickle: the opcodes that peers write, on a stack; nothing is ever called

local MARK = {}

local function read_pickle(bytes, start)
  local stack, memo, at = {}, {}, start
  local steps = 0
  local function push(kind, value, from, fields)
    local item = fields or {}
    item.kind, item.v, item.at, item.len = kind, value, from, at - from
    stack[#stack + 1] = item
  end
  local function pop(from)
    local item = table.remove(stack)
    if item == nil or item == MARK then fail(from, "nothing on the stack") end
    return item
  end
  local function pop_mark(from)
    local items = {}
    while true do
      local item = table.remove(stack)
      if item == nil then fail(from, "no mark on the stack") end
      if item == MARK then break end
      table.insert(items, 1, item)
    end
    return items
  end
  local function top(from)
    local item = stack[#stack]
    if item == nil or item == MARK then fail(from, "nothing on the stack") end
    return item
  end
  local function take(len)
    local range = part(bytes, at, len)
    at = at + len
    return range
  end
  local function line()
    local from = at
    while part(bytes, at, 1):uint() ~= 0x0a do at = at + 1 end
    at = at + 1
    return at - 1 > from and raw(bytes(from, at - 1 - from)) or ""
  end
  local function sequence(kind, items, from)
    local first = items[1] and math.min(items[1].at, from) or from
    stack[#stack + 1] = { kind = kind, items = items, at = first, len = at - first }
  end
  local function extend(from, items)
    local container = top(from)
    container.items = container.items or {}
    for _, item in ipairs(items) do
      container.items[#container.items + 1] = item
    end
    container.len = at - container.at
  end
  while true do
    steps = steps + 1
    if steps > 10 * COUNT_MAX then fail(at, "too many opcodes") end
    local from = at
    local code = take(1):uint()
    local c = string.char(code)
    if c == "." then return pop(from), at
    elseif code == 0x80 then take(1)
    elseif code == 0x95 then take(8)
    elseif c == "(" then stack[#stack + 1] = MARK
    elseif c == "K" then push("int", take(1):uint(), from)
    elseif c == "M" then push("int", take(2):le_uint(), from)
    elseif c == "J" then push("int", take(4):le_int(), from)
    elseif code == 0x8a then push("int", signed(raw(take(take(1):uint()))), from)
    elseif code == 0x8b then push("int", signed(raw(take(take(4):le_uint()))), from)
    elseif c == "G" then push("float", take(8):float(), from)
    elseif c == "N" then push("none", nil, from)
    elseif code == 0x88 then push("bool", true, from)
    elseif code == 0x89 then push("bool", false, from)
    elseif c == "C" then push("bytes", raw(take(take(1):uint())), from)
    elseif c == "B" then push("bytes", raw(take(take(4):le_uint())), from)
    elseif c == "U" then push("bytes", raw(take(take(1):uint())), from)
    elseif c == "T" then push("bytes", raw(take(take(4):le_uint())), from)
    elseif code == 0x8c then push("text", raw(take(take(1):uint())), from)
    elseif c == "X" then push("text", raw(take(take(4):le_uint())), from)
    elseif c == "I" or c == "L" then
      local text = line()
      if c == "I" and (text == "00" or text == "01") then push("bool", text == "01", from)
      else push("int", tonumber((text:gsub("L$", ""))) or text, from) end
    elseif c == "F" then push("float", tonumber(line()) or 0, from)
    elseif c == "S" or c == "V" then push("text", line(), from)
    elseif c == ")" then sequence("tuple", {}, from)
    elseif c == "t" then sequence("tuple", pop_mark(from), from)
    elseif code >= 0x85 and code <= 0x87 then
      local items = {}
      for _ = 0x85, code do table.insert(items, 1, pop(from)) end
      sequence("tuple", items, from)
    elseif c == "]" then sequence("list", {}, from)
    elseif c == "l" then sequence("list", pop_mark(from), from)
    elseif c == "}" then sequence("dict", {}, from)
    elseif c == "d" then sequence("dict", pop_mark(from), from)
    elseif code == 0x8f then sequence("set", {}, from)
    elseif c == "a" then local item = pop(from); extend(from, { item })
    elseif c == "e" or c == "u" or code == 0x90 then extend(from, pop_mark(from))
    elseif c == "s" then local value, key = pop(from), pop(from); extend(from, { key, value })
    elseif c == "q" then memo[take(1):uint()] = top(from)
    elseif c == "r" then memo[take(4):le_uint()] = top(from)
    elseif c == "p" then memo[tonumber(line())or -1] = top(from)
    elseif code == 0x94 then memo[#memo + (memo[0] and 1 or 0)] = top(from)
    elseif c == "h" or c == "j" or c == "g" then
      local index = c == "h" and take(1):uint() or c == "j" and take(4):le_uint() or tonumber(line())
      local item = memo[index]
      if item == nil then fail(from, "nothing under this number in the memo") end
      stack[#stack + 1] = item
    elseif c == "c" then local module = line(); push("class", module .. "." .. line(), from)
    elseif code == 0x93 then
      local name, module = pop(from), pop(from)
      push("class", tostring(module.v) .. "." .. tostring(name.v), from)
    elseif c == "R" or code == 0x81 then
      local args, class = pop(from), pop(from)
      sequence("object", { class, args }, class.at)
    elseif c == "b" then local state = pop(from); extend(from, { state })
    elseif c == "0" then table.remove(stack)
    elseif c == "1" then pop_mark(from)
    elseif c == "2" then stack[#stack + 1] = top(from)
    else fail(from, string.format("pickle opcode 0x%02x", code)) end
  end
end

-- How a value reads, on one line

local function hex(bytes, limit)
  local shown = bytes:sub(1, limit):gsub(".", function(c) return string.format("%02x", c:byte()) end)
  return #bytes > limit and shown .. "... (" .. #bytes .. " bytes)" or shown
end

local function printable(text)
  return (text:sub(1, 80):gsub("[%c\127-\255]", "?"))
end

local function show(value, depth)
  depth = depth or 0
  local kind = value.kind
  if kind == "none" then return "None"
  elseif kind == "bool" then return value.v and "True" or "False"
  elseif kind == "int" or kind == "float" then return number_text(value.v)
  elseif kind == "bytes" then return hex(value.v, 16)
  elseif kind == "text" then return '"' .. printable(value.v) .. '"'
  elseif kind == "class" then return "<" .. printable(value.v) .. ">" end
  local items = value.items or {}
  if depth > 3 then return "..." end
  local shown = {}
  for index = 1, math.min(#items, 6) do shown[index] = show(items[index], depth + 1) end
  if #items > 6 then shown[#shown + 1] = "... " .. #items .. " in all" end
  return "(" .. table.concat(shown, ", ") .. ")"
end

-- The tree

local function add_value(tree, bytes, name, value, depth, budget)
  budget.count = budget.count + 1
  if budget.count > 500 or depth > 12 then return end
  local range = bytes(value.at, math.min(value.len, bytes:len() - value.at))
  local is_eight = value.kind == "bytes" and #value.v == 8
  local item
  if is_eight and name:find("oid") then
    item = tree:add(f.oid, range, hex(value.v, 8))
  elseif is_eight and (name:find("tid") or name == "serial" or name == "before" or name == "undone") then
    item = tree:add(f.tid, range, hex(value.v, 8))
  else
    item = tree:add(f.value, range, show(value))
  end
  item:set_text(name .. ": " .. show(value))
  if value.kind == "bytes" and (name == "data" or name == "chunk") then
    item:add(f.data_len, range, #value.v)
  end
  for index, part_of in ipairs(value.items or {}) do
    local part_name = name == "oids" and "oid" or tostring(index)
    add_value(item, bytes, part_name, part_of, depth + 1, budget)
  end
end

local function add_named(tree, bytes, names, value)
  local budget = { count = 0 }
  if names and value.items then
    for index, item in ipairs(value.items) do
      add_value(tree, bytes, names[index] or tostring(index), item, 0, budget)
    end
  else
    add_value(tree, bytes, "arguments", value, 0, budget)
  end
end

-- Calls and replies ----------------------------------------------------------------------------------------------------

-- By stream and id: the calls that wait. By packet and place: what a reply answers. A second pass finds it there.
local waiting, answers

function zeo.init()
  waiting, answers = {}, {}
end

local function summary(names, value)
  local parts = {}
  for index, item in ipairs(value.items or {}) do
    local name = names and names[index]
    if name and index <= 4 and name ~= "data" and name ~= "chunk" then
      parts[#parts + 1] = name .. "=" .. show(item, 2)
    end
  end
  return table.concat(parts, " ")
end

local function dissect_message(bytes, start, pinfo, tree)
  local first = bytes(start, 1):uint()
  local message
  if first == 0x94 then
    tree:add(f.framing, bytes(start, 1), "msgpack")
    message = read_msgpack(bytes, start, 0, { count = 0 })
  else
    tree:add(f.framing, bytes(start, 1), "pickle")
    message = read_pickle(bytes, start)
  end
  local items = message.items or {}
  local id, flag, method, args = items[1], items[2], items[3], items[4]
  if #items ~= 4 or type(method.v) ~= "string" then
    fail(start, "not a tuple of id, flag, method and arguments")
  end
  local id_text = show(id)
  tree:add(f.id, bytes(id.at, id.len), id_text)
  tree:add(f.flag, bytes(flag.at, flag.len), show(flag))
  local is_set = flag.v ~= false and flag.v ~= 0
  local stream = stream_field()
  local key = (stream and tostring(stream.value) or "") .. "/" .. id_text
  if method.v == ".reply" then
    local place = pinfo.number .. "/" .. start .. "/" .. key
    if not pinfo.visited and waiting[key] then
      answers[place] = table.remove(waiting[key], 1)
    end
    local call = answers[place]
    local name = call and call.method or "?"
    tree:add(f.kind, bytes(flag.at, flag.len), is_set and "error" or "reply")
    tree:add(f.method, bytes(method.at, method.len), name)
    if call then
      tree:add(f.call_frame, call.frame):set_generated()
      local seconds = math.max(0, pinfo.abs_ts - call.time)
      local whole = math.floor(seconds)
      tree:add(f.latency, NSTime.new(whole, math.floor((seconds - whole) * 1e9))):set_generated()
    end
    local single = SINGLE_RESULTS[name]
    local budget = { count = 0 }
    if is_set then
      add_value(tree, bytes, "error", args, 0, budget)
      return name .. " error " .. show(args, 2)
    elseif single then
      add_value(tree, bytes, single, args, 0, budget)
      return name .. " -> " .. show(args, 2)
    elseif RESULTS[name] and args.items then
      add_named(tree, bytes, RESULTS[name], args)
      return name .. " -> " .. summary(RESULTS[name], args)
    end
    add_value(tree, bytes, name == "new_oids" and "oids" or "result", args, 0, budget)
    return name .. " -> " .. show(args, 2)
  end
  local name = printable(method.v)
  tree:add(f.kind, bytes(flag.at, flag.len), is_set and "one-way" or "call")
  tree:add(f.method, bytes(method.at, method.len), name)
  add_named(tree, bytes, ARGUMENTS[name], args)
  if not is_set and not pinfo.visited then
    waiting[key] = waiting[key] or {}
    table.insert(waiting[key], { method = name, frame = pinfo.number, time = pinfo.abs_ts })
  end
  return name .. "(" .. summary(ARGUMENTS[name], args) .. ")"
end

-- Frames ---------------------------------------------------------------------------------------------------------------

local function header_len(length)
  return length >= 0x80000000 and 24 or 4
end

local function frame_len(bytes, _, at)
  local length = bytes(at, 4):uint()
  return header_len(length) + length % 0x80000000
end

local function is_greeting(bytes, at, len)
  if len < 2 or len > 5 then return false end
  local text = raw(bytes(at, len))
  return text == "ruok" or text:match("^[ZM]%d+$") ~= nil
end

local function dissect_frame(bytes, pinfo, root)
  local tree = root:add(zeo, bytes())
  local length = bytes(0, 4):uint()
  tree:add(f.length, bytes(0, 4), length % 0x80000000)
  local at = header_len(length)
  if at > 4 then tree:add(f.mac, bytes(4, 20)) end
  local len = bytes:len() - at
  local line
  if len > 0 and is_greeting(bytes, at, len) then
    line = raw(bytes(at, len))
    tree:add(f.greeting, bytes(at, len), line)
  elseif len > 0 and bytes(at, 1):uint() == 0x7b then
    line = "status"
    tree:add(f.value, bytes(at, len), printable(raw(bytes(at, len))))
  elseif len > 0 then
    local ok, result = pcall(dissect_message, bytes, at, pinfo, tree)
    if ok then
      line = result
    else
      local why = type(result) == "table" and (result.why .. " at byte " .. result.at) or tostring(result)
      tree:add_proto_expert_info(malformed, why)
      line = "[" .. why .. "]"
    end
  else
    line = "empty frame"
  end
  tree:append_text(": " .. line)
  pinfo.cols.info:append(" | " .. line)
  return bytes:len()
end

function zeo.dissector(bytes, pinfo, root)
  pinfo.cols.protocol = "ZEO"
  pinfo.cols.info = pinfo.src_port .. " > " .. pinfo.dst_port
  dissect_tcp_pdus(bytes, root, 4, frame_len, dissect_frame)
  return bytes:len()
end

zeo:register_heuristic("tcp", function(bytes, pinfo, root)
  if bytes:len() < 6 then return false end
  local len = bytes(0, 4):uint()
  if len > 5 or bytes:len() < 4 + len or not is_greeting(bytes, 4, len) then return false end
  pinfo.conversation = zeo
  zeo.dissector(bytes, pinfo, root)
  return true
end)

local ports = DissectorTable.get("tcp.port")
local registered = zeo.prefs.ports
ports:add(registered, zeo)
function zeo.prefs_changed()
  if registered ~= zeo.prefs.ports then
    ports:remove(registered, zeo)
    registered = zeo.prefs.ports
    ports:add(registered, zeo)
  end
end
