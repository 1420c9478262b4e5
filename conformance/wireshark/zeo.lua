-- A Wireshark dissector for ZEO, the protocol of ZODB's client-server storage: ZEO 4 to 6, in pickle and msgpack.
--
--   tshark -X lua_script:zeo.lua -r session.pcapng
--   wireshark -X lua_script:zeo.lua, or put the file into the folder of personal Lua plugins
--
-- Conversations are recognised by their greetings; where these were not captured, by a message at the beginning of a packet,
-- by the ports in the preferences, or by "Decode As". A frame is a length of four bytes, in ZEO 4 perhaps a MAC, and a
-- message: (id, flag, method, arguments), where a reply has ".reply" for its method.
--
-- A client's port may be one that Wireshark knows as another protocol's. Then the first packets may be shown as that, unless
-- heuristics go first: -o tcp.try_heuristic_first:TRUE, or "Try heuristic sub-dissectors first" of TCP.
--
-- zeo.kind, zeo.method, zeo.error, zeo.oid and zeo.tid are what "zeo-conformance sniff" says of a message. Other ids in it
-- are in zeo.other_id.

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
  other_id = ProtoField.string("zeo.other_id", "Other id"),
  error = ProtoField.string("zeo.error", "Class of the error"),
  value = ProtoField.string("zeo.value", "Value"),
  data_len = ProtoField.uint32("zeo.data_len", "Length of the record", base.DEC),
  call_frame = ProtoField.framenum("zeo.call_frame", "Call in", base.NONE, frametype.REQUEST),
  latency = ProtoField.relative_time("zeo.latency", "Time since the call"),
  skipped_len = ProtoField.uint32("zeo.skipped_len", "Rest of a message that began before", base.DEC),
}
zeo.fields = f
local malformed = ProtoExpert.new("zeo.malformed", "Cannot be read", expert.group.MALFORMED, expert.severity.ERROR)
zeo.experts = { malformed }
zeo.prefs.ports = Pref.range("TCP ports", "8100", "Ports of servers whose conversations may lack their beginning", 65535)

-- What arguments and results are called; ROLES has those that become fields to filter by.
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
  -- ZEO 4's
  verify = { "oid", "cached serial" },
  zeoVerify = { "oid", "cached serial" },
  load = { "oid" },
  loadEx = { "oid" },
  serialnos = { "results" },
  invalidateVerify = { "object" },
}
-- Before Z309, with a version, by the number of arguments (protocol reference 7.7).
local OLD_ARGUMENTS = {
  history = { [3] = { "oid", "version", "size" } },
  verify = { [3] = { "oid", "version", "cached serial" } },
  zeoVerify = { [3] = { "oid", "old serial", "version" } },
  storea = { [5] = { "oid", "old serial", "data", "version", "transaction" } },
  storeBlobEnd = { [5] = { "oid", "old serial", "data", "version", "transaction" } },
  storeBlobShared = { [6] = { "oid", "old serial", "data", "file", "version", "transaction" } },
}
local function arguments_of(method, value)
  local old = OLD_ARGUMENTS[method]
  return old and old[#(value.items or {})] or ARGUMENTS[method]
end
local RESULTS = {
  loadBefore = { "data", "serial", "end tid" },
  getInvalidations = { "tid", "oids" },
  iterator_next = { "tid", "status", "user", "description", "extension" },
  iterator_record_next = { "oid", "tid", "data", "data tid" },
  record_iternext = { "oid", "serial", "data", "next oid" },
}
local SINGLE_RESULTS = {
  register = "tid",
  lastTransaction = "tid",
  getTid = "tid",
  tpc_finish = "tid",
  new_oids = "oids",
  vote = "resolved",
}
local ROLES = {
  oid = "oid",
  tid = "tid",
  serial = "serial",
  before = "tid",
  undone = "tid",
  ["end tid"] = "tid",
  ["start tid"] = "tid",
  ["stop tid"] = "tid",
  ["next oid"] = "other id",
  ["data tid"] = "other id",
  ["previous tid"] = "other id",
  ["cached serial"] = "other id",
  ["old serial"] = "tid",
  oids = "oids",
  resolved = "resolved",
  data = "data",
  chunk = "data",
  user = "text",
  description = "text",
  storage = "text",
  label = "text",
  file = "text",
  status = "text",
}

-- Values ---------------------------------------------------------------------------------------------------------------
--
-- A value is a table: kind, where it lies (at, len), and v (a Lua value) or items (of sequences; of dicts keys and values in
-- turn). Readers raise errors as tables, { at, why }.

local DEPTH_MAX, COUNT_MAX = 50, 200000

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
  local number, len = 0.0, #bytes
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
  -- The count first: it moves `at` to the items.
  if code == 0xdc or code == 0xdd then
    local count = uint(code == 0xdc and 2 or 4)
    return msgpack_items(bytes, at, start, count, "list", depth, budget)
  end
  if code == 0xde or code == 0xdf then
    local count = 2 * uint(code == 0xde and 2 or 4)
    return msgpack_items(bytes, at, start, count, "dict", depth, budget)
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
      items[#items + 1] = item
    end
    -- They came last first.
    for index = 1, math.floor(#items / 2) do
      items[index], items[#items + 1 - index] = items[#items + 1 - index], items[index]
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
    if steps > 2 * COUNT_MAX then fail(at, "too many opcodes") end
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

local function is_utf8(text)
  -- Nothing above ASCII is left of it: as strict as a column needs.
  return not text:gsub("[\194-\223][\128-\191]", ""):gsub("[\224-\239][\128-\191][\128-\191]", "")
    :gsub("[\240-\244][\128-\191][\128-\191][\128-\191]", ""):find("[\128-\255]")
end

local function printable(text)
  local cut = text:sub(1, 80)
  if #cut < #text then
    -- A character may have been cut.
    cut = cut:gsub("[\192-\255][\128-\191]*$", "")
  end
  return (cut:gsub(is_utf8(cut) and "%c" or "[%c\127-\255]", "?"))
end

local function quoted(text)
  return '"' .. printable(text) .. '"' .. (#text > 80 and "... (" .. #text .. " bytes)" or "")
end

local show

-- Pairs of a dict, or what is in anything else.
local function show_items(items, kind, depth)
  local shown, step = {}, kind == "dict" and 2 or 1
  for index = 1, math.min(#items, 6), step do
    local text = show(items[index], depth)
    if step == 2 and items[index + 1] then text = text .. ": " .. show(items[index + 1], depth) end
    shown[#shown + 1] = text
  end
  if #items > 6 then shown[#shown + 1] = "... " .. number_text(#items / step) .. " in all" end
  return table.concat(shown, ", ")
end

function show(value, depth, role)
  depth = depth or 0
  local kind = value.kind
  if kind == "none" then return "None"
  elseif kind == "bool" then return value.v and "True" or "False"
  elseif kind == "int" or kind == "float" then return number_text(value.v)
  elseif kind == "bytes" then
    -- Text of msgpack and of Python 2 is bytes, too. Eight bytes are most likely an id, whatever they look like.
    local is_text = #value.v > 0 and #value.v ~= 8 and not value.v:find("[^\9\10\13\32-\126]")
    return (is_text or value.v == "" or role == "text" and is_utf8(value.v)) and quoted(value.v) or hex(value.v, 16)
  elseif kind == "text" then return quoted(value.v)
  elseif kind == "class" then return "<" .. printable(value.v) .. ">" end
  local items = value.items or {}
  if depth > 3 then return "..." end
  local text = show_items(items, kind, depth + 1)
  return kind == "dict" and "{" .. text .. "}" or "(" .. text .. ")"
end

-- The tree

-- Parts of values with these roles have roles of their own.
local function role_of_part(role, part_of, key, index)
  if role == "oids" then return "oid" end
  -- What a vote answers: oids that the server resolved, and conflicts for the client (protocol reference 9.3).
  if role == "resolved" then return part_of.kind == "bytes" and "oid" or "conflict" end
  if role == "conflict" then return key == "oid" and "oid" or key == "serials" and "serials" or nil end
  if role == "serials" then return index == 1 and "tid" or "other id" end
end

-- `seen` counts what was added, and has the first oid.
local function add_value(tree, bytes, name, role, value, depth, seen)
  seen.count = seen.count + 1
  if seen.count > 500 or depth > 12 then return end
  local range = bytes(value.at, math.min(value.len, bytes:len() - value.at))
  local is_id = value.kind == "bytes" and #value.v == 8
  local field = is_id and ({ oid = f.oid, tid = f.tid, serial = f.tid, ["other id"] = f.other_id })[role]
  local item
  if role == "serial" and (value.kind == "none" or value.kind == "text" and #value.v == 8) then
    -- Of new objects, as clients of ZEO 4 and ZEO's own tests write it.
    item = tree:add(f.tid, range, hex(value.v or ("\0"):rep(8), 8))
  elseif field then
    item = tree:add(field, range, hex(value.v, 8))
    if role == "oid" then seen.oid = seen.oid or hex(value.v, 8) end
  else
    item = tree:add(f.value, range, show(value, 0, role))
  end
  item:set_text(name .. ": " .. show(value, 0, role))
  if value.kind == "bytes" and role == "data" then
    item:add(f.data_len, range, #value.v)
  end
  local items, step = value.items or {}, value.kind == "dict" and 2 or 1
  for index = 1, #items, step do
    local key = items[index]
    local part_of = items[index + step - 1] or key
    local part_name = step == 2 and show(key) or tostring(index)
    local part_role = role_of_part(role, part_of, step == 2 and key.v, index)
    add_value(item, bytes, part_name, part_role, part_of, depth + 1, seen)
  end
end

local function add_named(tree, bytes, names, value, seen)
  if names and value.items then
    for index, item in ipairs(value.items) do
      local name = names[index]
      add_value(tree, bytes, name or tostring(index), ROLES[name], item, 0, seen)
    end
  else
    add_value(tree, bytes, "arguments", nil, value, 0, seen)
  end
end

-- Calls and replies ----------------------------------------------------------------------------------------------------

-- What is known of conversations, by their pair of addresses and ports: of each its calls that wait, by id, and by direction
-- (see "Where frames begin"): `found`, the packet from which on frames can be told apart, how much of it lies before the first,
-- and whether it has the beginning of the stream; `first_frames`, the packet that ends the first frame, if it has; `aliens`,
-- whether it is not ZEO.
--
-- There is no field that tells more: the window of Wireshark reads a file for the first time without making any.
local conversations
-- By packet and place: what a reply answers. A second pass finds it there.
local answers

function zeo.init()
  conversations, answers = {}, {}
end

-- The conversation of a packet, and the names of the direction that it goes and of the other one. A greeting where there was
-- something before begins another one: ports are used again.
local function conversation_of(pinfo, is_hello)
  local from = tostring(pinfo.src) .. " " .. pinfo.src_port
  local to = tostring(pinfo.dst) .. " " .. pinfo.dst_port
  local pair = from < to and from .. " " .. to or to .. " " .. from
  conversations[pair] = conversations[pair] or {}
  local all = conversations[pair]
  local index = #all
  while index > 0 and all[index].packet > pinfo.number do index = index - 1 end
  local known = all[index]
  local has_more = known and is_hello and known.begun[from] and known.begun[from] < pinfo.number
  if (not known or has_more) and not pinfo.visited then
    known = { packet = pinfo.number, waiting = {}, begun = {}, found = {}, first_frames = {}, aliens = {} }
    all[#all + 1] = known
  end
  return known, from, to
end

local function summary(names, value)
  local parts = {}
  for index, item in ipairs(value.items or {}) do
    local name = names and names[index]
    if name and index <= 4 and name ~= "data" and name ~= "chunk" then
      parts[#parts + 1] = name .. "=" .. show(item, 2, ROLES[name])
    end
  end
  return table.concat(parts, " ")
end

-- Class and detail, if a result is an error. ZEO 5 says so in the flag and names the class; ZEO 4 sends class and instance,
-- and no other result begins with a class (protocol reference 6).
local function error_of(value, is_set)
  local items = value.items or {}
  local class = items[1]
  if class and #items == 2 and (class.kind == "class" or is_set and type(class.v) == "string") then
    return class, items[2]
  end
  if is_set then return value, nil end
end

-- What there is to see of an instance of ZEO 4: its arguments, or attributes.
local function instance_detail(instance)
  local args = instance.kind == "object" and instance.items[2]
  local items = args and args.items or {}
  if not (items[1] and items[1].kind == "class" and items[2]) then return args or instance end
  local state = items[2]
  local is_only_args = state.items and #state.items == 2 and state.items[1].v == "args"
  return is_only_args and state.items[2] or state
end

local function dissect_reply(bytes, tree, name, args, is_set, seen)
  local class, detail = error_of(args, is_set)
  if class then
    local class_name = type(class.v) == "string" and printable(class.v) or show(class, 2)
    tree:add(f.error, bytes(class.at, class.len), class_name)
    if not detail then return name .. " error " .. class_name end
    add_value(tree, bytes, "detail", nil, detail, 0, seen)
    if class.kind == "class" then detail = instance_detail(detail) end
    return name .. " error " .. class_name .. " " .. show(detail, 2)
  elseif RESULTS[name] and args.items then
    add_named(tree, bytes, RESULTS[name], args, seen)
    return name .. " -> " .. summary(RESULTS[name], args)
  end
  local single = SINGLE_RESULTS[name]
  add_value(tree, bytes, single or "result", ROLES[single], args, 0, seen)
  return name .. " -> " .. show(args, 2)
end

local function dissect_message(bytes, start, pinfo, tree)
  local first = bytes(start, 1):uint()
  local message, message_end
  if first == 0x94 then
    tree:add(f.framing, bytes(start, 1), "msgpack")
    message, message_end = read_msgpack(bytes, start, 0, { count = 0 })
  else
    tree:add(f.framing, bytes(start, 1), "pickle")
    message, message_end = read_pickle(bytes, start)
  end
  if message_end < bytes:len() then fail(message_end, "there is something behind the message") end
  local items = message.items or {}
  local id, flag, method, args = items[1], items[2], items[3], items[4]
  if #items ~= 4 or type(method.v) ~= "string" then
    fail(start, "not a tuple of id, flag, method and arguments")
  end
  local id_text = show(id)
  tree:add(f.id, bytes(id.at, id.len), id_text)
  tree:add(f.flag, bytes(flag.at, flag.len), show(flag))
  -- Clients send these in the form of a reply, which answers nothing.
  if id.kind == "int" and id.v == -1 then
    tree:add(f.kind, bytes(id.at, id.len), "keep-alive")
    return "keep-alive"
  end
  local is_set = flag.v ~= false and flag.v ~= 0
  local waiting = conversation_of(pinfo).waiting
  local seen = { count = 0 }
  if method.v == ".reply" then
    local place = pinfo.number .. "/" .. id_text
    local answered = not pinfo.visited and waiting[id_text] and table.remove(waiting[id_text], 1)
    -- A packet may be shown twice while it is put together.
    if answered then answers[place] = answered end
    local call = answers[place]
    local name = call and call.method or "?"
    local is_error = error_of(args, is_set) ~= nil
    tree:add(f.kind, bytes(flag.at, flag.len), is_error and "error" or "reply")
    tree:add(f.method, bytes(method.at, method.len), name)
    if call then
      tree:add(f.call_frame, call.frame):set_generated()
      local seconds = math.max(0, pinfo.abs_ts - call.time)
      local whole = math.floor(seconds)
      tree:add(f.latency, NSTime.new(whole, math.floor((seconds - whole) * 1e9))):set_generated()
    end
    -- The object that was asked for: of a failed `loadBefore` the id has it, too.
    local asked = is_set and id.items and id.items[1]
    local oid = call and call.oid or asked and asked.kind == "bytes" and #asked.v == 8 and hex(asked.v, 8)
    if oid then tree:add(f.oid, oid):set_generated() end
    return dissect_reply(bytes, tree, name, args, is_set, seen)
  end
  local name = printable(method.v)
  tree:add(f.kind, bytes(flag.at, flag.len), is_set and "one-way" or "call")
  tree:add(f.method, bytes(method.at, method.len), name)
  local names = arguments_of(name, args)
  add_named(tree, bytes, names, args, seen)
  if not is_set and not pinfo.visited then
    waiting[id_text] = waiting[id_text] or {}
    table.insert(waiting[id_text], { method = name, frame = pinfo.number, time = pinfo.abs_ts, oid = seen.oid })
  end
  return name .. "(" .. summary(names, args) .. ")"
end

-- Where frames begin ---------------------------------------------------------------------------------------------------
--
-- Frames have no mark. One is told by a length and, behind it, what only a message begins with: id, flag, and the name
-- of a method (protocol reference 3).

local METHODS = {}
for name in ([[.reply register get_info lastTransaction getInvalidations set_client_label ping server_status getAuthProtocol
    auth_get_challenge auth_response getExtensionMethods verify zeoVerify endZeoVerify loadBefore loadSerial getTid history load
    loadEx record_iternext iterator_start iterator_next iterator_record_start iterator_record_next iterator_gc sendBlob
    undoLog undoInfo new_oids new_oid tpc_begin storea restorea deleteObject checkCurrentSerialInTransaction undoa undo
    storeBlobStart storeBlobChunk storeBlobEnd storeBlobShared vote tpc_finish tpc_abort getSerial zeoLoad
    modifiedInVersion versions versionEmpty commitVersion abortVersion get_size_info pack invalidateTransaction info
    receiveBlobStart receiveBlobChunk receiveBlobStop serialnos invalidateVerify beginVerify endVerify
    ]]):gmatch("%S+") do
  METHODS[name] = true
end

-- Longer messages are believed only if they begin as messages do.
local LENGTH_MAX = 64 * 1024 * 1024

-- An id is a number or a pair of strings, a flag a number or a truth value.
local EIGHT = ("."):rep(8)
local MSGPACK_HEAD = {
  { "^[\0-\127\224-\255]", "^[\204\208].", "^[\205\209]..", "^[\206\210]....", "^[\207\211]" .. EIGHT,
    "^\146\196\8" .. EIGHT .. "\196\8" .. EIGHT },
  { "^[\0-\127\194\195]" },
}
local PICKLE_HEAD = {
  { "^K.", "^M..", "^J....", "^[IL]%-?%d+L?\n", "^%(?[CU]\8" .. EIGHT .. "[CU]\8" .. EIGHT .. "[t\134]" },
  { "^K.", "^[\136\137]", "^I0[01]\n" },
}

-- The place behind one of the patterns, if it is at this place.
local function behind(text, at, patterns)
  for _, pattern in ipairs(patterns) do
    local _, last = text:find(pattern, at)
    if last then return last + 1 end
  end
end

-- The short string at this place, in the forms in which names are written.
local function name_at(text, at, is_msgpack)
  local code, len = text:byte(at, at + 1)
  if not len then return nil end
  if is_msgpack and code > 0xa0 and code < 0xc0 then return text:sub(at + 1, at + code - 0xa0) end
  -- str 8, and bin 8 of Python 2; SHORT_BINSTRING and SHORT_BINUNICODE; BINUNICODE, whose length has four bytes.
  local is_short = is_msgpack and (code == 0xd9 or code == 0xc4) or not is_msgpack and (code == 0x55 or code == 0x8c)
  if is_short then return text:sub(at + 2, at + 1 + len) end
  if not is_msgpack and code == 0x58 then return text:sub(at + 5, at + 4 + len) end
end

local function header_len(length)
  return length >= 0x80000000 and 24 or 4
end

local function is_greeting(text)
  return text == "ruok" or #text >= 2 and #text <= 5 and text:match("^[ZM]%d+$") ~= nil
end

-- Whether a frame begins at this place of a string (from 1), and whether it is a greeting.
local function begins(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  if not d then return false end
  local length = ((a % 128 * 256 + b) * 256 + c) * 256 + d
  local payload_at = at + header_len(a * 0x1000000)
  if length < 2 then return false end
  if length <= 5 then
    -- All of it, or it is none.
    local payload = text:sub(payload_at, payload_at + length - 1)
    local is = #payload == length and is_greeting(payload)
    return is, is
  end
  local first, _, third = text:byte(payload_at, payload_at + 2)
  local is_msgpack, place = first == 0x94, payload_at + 1
  if first == 0x80 and third == 0x28 then
    place = payload_at + 3
  elseif not is_msgpack and first ~= 0x28 then
    return false
  end
  for _, patterns in ipairs(is_msgpack and MSGPACK_HEAD or PICKLE_HEAD) do
    place = behind(text, place, patterns)
    if not place then return false end
  end
  return METHODS[name_at(text, place, is_msgpack) or ""] == true, false
end

-- How much lies before the first frame that begins in a string; nothing if none does.
local function find_beginning(text)
  -- What payloads begin with is looked for, since that is quick; in front of it is a header, perhaps with a MAC.
  local payload_at = 4
  while true do
    payload_at = text:find("[ZMr(\128\148]", payload_at + 1)
    if not payload_at then return nil end
    for _, len in ipairs({ 24, 4 }) do
      if payload_at > len and begins(text, payload_at - len) then return payload_at - len - 1 end
    end
  end
end

-- A greeting of either side is at the beginning of both directions.
local function note_greeting(pinfo)
  local known, from, to = conversation_of(pinfo, true)
  for _, direction in ipairs({ from, to }) do
    known.found[direction] = known.found[direction] or { packet = pinfo.number, len = 0, is_whole = true }
  end
end

-- Whether this is the first frame of a direction: a greeting, whatever it says. Once per frame.
local function is_first_frame(pinfo)
  local known, from = conversation_of(pinfo)
  local found = known.found[from]
  if not found or not found.is_whole then return false end
  known.first_frames[from] = known.first_frames[from] or pinfo.number
  local is_first = known.first_frames[from] == pinfo.number and not pinfo.private.zeo_first
  if is_first then pinfo.private.zeo_first = "seen" end
  return is_first
end

-- No greeting is as long as that, or empty.
local GREETING_LEN_MAX = 1024

local function is_alien(bytes, aliens, direction)
  if aliens[direction] ~= nil or bytes:len() < 4 then return aliens[direction] end
  local length = bytes(0, 4):uint() % 0x80000000
  aliens[direction] = length == 0 or length > GREETING_LEN_MAX and not begins(raw(bytes()), 1)
  return aliens[direction]
end

-- How much to pass over before the first frame; nothing if that has not come yet. It depends on the packet only, so that it
-- is the same whenever that is shown.
local function before_first_frame(bytes, pinfo)
  local length = bytes:len() >= 4 and bytes(0, 4):uint() % 0x80000000 or 0
  if length >= 2 and length <= 5 and not pinfo.visited then
    local _, is_hello = begins(raw(bytes(0, math.min(bytes:len(), 9))), 1)
    if is_hello then note_greeting(pinfo) end
  end
  local known, from = conversation_of(pinfo)
  if not known then return nil end
  local found = known.found[from]
  if found then
    if pinfo.number < found.packet then return nil end
    if found.is_whole and is_alien(bytes, known.aliens, from) then return nil end
    known.begun[from] = known.begun[from] or pinfo.number
    if pinfo.number == found.packet then return found.len end
    if length <= LENGTH_MAX then return 0 end
  end
  local text = raw(bytes())
  local len = begins(text, 1) and 0 or find_beginning(text)
  if len and not found and not pinfo.visited then
    known.found[from] = { packet = pinfo.number, len = len }
    known.begun[from] = pinfo.number
  end
  return len
end

-- Frames ---------------------------------------------------------------------------------------------------------------

local function frame_len(bytes, _, at)
  local length = bytes(at, 4):uint()
  return header_len(length) + length % 0x80000000
end

-- A packet may end one message and have others of its own: these come in a second call, and the column has a part that
-- cannot be written again.
local function add_line(pinfo, line)
  if not pinfo.private.zeo_info then
    pinfo.private.zeo_info = "begun"
    pinfo.cols.info = pinfo.src_port .. " > " .. pinfo.dst_port
  end
  pinfo.cols.info:append(" | " .. line)
end

local function dissect_frame(bytes, pinfo, root)
  local tree = root:add(zeo, bytes())
  local length = bytes(0, 4):uint()
  tree:add(f.length, bytes(0, 4), length % 0x80000000)
  local at = header_len(length)
  if at > 4 then tree:add(f.mac, bytes(4, 20)) end
  local len = bytes:len() - at
  local is_first = is_first_frame(pinfo) and not begins(raw(bytes()), 1)
  local line
  if len > 0 and (is_first or len <= 5 and is_greeting(raw(bytes(at, len)))) then
    line = printable(raw(bytes(at, len)))
    tree:add(f.kind, bytes(at, len), "hello")
    tree:add(f.greeting, bytes(at, len), line)
  elseif len > 0 and bytes(at, 1):uint() == 0x7b then
    line = "status"
    tree:add(f.kind, bytes(at, len), "hello")
    tree:add(f.value, bytes(at, len), printable(raw(bytes(at, len))))
  elseif len > 0 then
    local ok, result = pcall(dissect_message, bytes, at, pinfo, tree)
    if ok then
      line = result
    elseif bytes:len() < frame_len(bytes, pinfo, 0) then
      line = "[only " .. bytes:len() .. " of " .. frame_len(bytes, pinfo, 0) .. " bytes were captured]"
    else
      local why = type(result) == "table" and (result.why .. " at byte " .. result.at) or tostring(result)
      tree:add(f.kind, bytes(at, len), "undecodable")
      tree:add_proto_expert_info(malformed, why)
      line = "[" .. why .. "]"
    end
  else
    line = "empty frame"
  end
  tree:append_text(": " .. line)
  add_line(pinfo, line)
  return bytes:len()
end

function zeo.dissector(bytes, pinfo, root)
  local len = before_first_frame(bytes, pinfo)
  -- Perhaps it is somebody else's.
  if not len then return 0 end
  pinfo.cols.protocol = "ZEO"
  if len > 0 then
    local tree = root:add(zeo, bytes(0, len))
    tree:add(f.skipped_len, bytes(0, len), len)
    tree:append_text(": rest of a message that began before")
    add_line(pinfo, "rest of a message")
  end
  if len == bytes:len() then return len end
  dissect_tcp_pdus(len == 0 and bytes or bytes(len):tvb(), root, 4, frame_len, dissect_frame)
  -- It counts from where it was told to begin.
  if pinfo.desegment_len > 0 then pinfo.desegment_offset = pinfo.desegment_offset + len end
  return bytes:len()
end

zeo:register_heuristic("tcp", function(bytes, pinfo, root)
  if bytes:len() < 6 or not begins(raw(bytes(0, math.min(bytes:len(), 256))), 1) then return false end
  pinfo.conversation = zeo
  zeo.dissector(bytes, pinfo, root)
  return true
end)

-- A client's port may be one that Wireshark knows as another protocol's, whose dissector is then asked before any heuristic
-- and may take the greeting. What comes behind the greeting is ours: the conversation goes before ports.
local greetings = Proto("zeo_greetings", "ZEO greetings that were taken for something else")
function greetings.dissector(bytes, pinfo)
  if pinfo.visited or pinfo.port_type ~= 2 or bytes:len() < 9 then return end
  -- Where the payload begins is not known here, but where it ends, and a greeting has two to five letters.
  local tail = raw(bytes(bytes:len() - 9, 9))
  for len = 2, 5 do
    local at = #tail - len - 3
    local _, is_hello = begins(tail, at)
    if is_hello and tail:byte(at + 3) == len then
      local known, from = conversation_of(pinfo)
      if known.found[from] then return end
      note_greeting(pinfo)
      pinfo.conversation = zeo
    end
  end
end
register_postdissector(greetings)

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
