-- Wireshark dissector for istio-peer-exchange, the metadata exchange of Istio's and mxproxy's sidecars.
--
-- On each direction of a connection the first bytes are a prefix: a magic, a length, and an Any that
-- holds a Struct of the workload's metadata; what follows is the application's. Inside TLS the
-- exchange is known by its ALPN, without one by the magic. The format is described in docs/wire.md;
-- README.md says how to install and use this.
--
-- Works with Wireshark and tshark 3.6 or later.

local MAGIC = 0x3D230467
local HEADER = 8
-- As mxproxy's own default: nothing behind a longer length can be trusted.
local MAX_LENGTH = 65536
local MAX_DEPTH = 64

local mx = Proto("istio_peer_exchange", "Istio Peer Metadata Exchange")

mx.prefs.payload = Pref.string("Application protocol", "",
    "The dissector for what follows the prefix, such as http, mysql or redis. Empty: the one that "
    .. "has the connection's port, or HTTP if it looks like it.")

local f = mx.fields
f.magic = ProtoField.uint32("istio_peer_exchange.magic", "Magic", base.HEX)
f.length = ProtoField.uint32("istio_peer_exchange.length", "Length")
f.type_url = ProtoField.string("istio_peer_exchange.type_url", "Type URL")
f.key = ProtoField.string("istio_peer_exchange.key", "Key")
f.value = ProtoField.string("istio_peer_exchange.value", "Value")
f.data = ProtoField.bytes("istio_peer_exchange.data", "Unknown field")

-- The keys that matter, so that they can be filtered by and made columns of.
local KNOWN = {
    ["NAME"] = "name",
    ["NAMESPACE"] = "namespace",
    ["WORKLOAD_NAME"] = "workload",
    ["CLUSTER_ID"] = "cluster",
    ["OWNER"] = "owner",
    ["IDENTITY"] = "identity",
    ["REGION"] = "region",
    ["AVAILABILITY_ZONE"] = "availability_zone",
    ["x-envoy-peer-metadata-id"] = "id",
}
for key, name in pairs(KNOWN) do
    f[name] = ProtoField.string("istio_peer_exchange." .. name, key)
end
f.label = ProtoField.string("istio_peer_exchange.label", "Label")

mx.experts.malformed = ProtoExpert.new("istio_peer_exchange.malformed", "Malformed metadata",
    expert.group.MALFORMED, expert.severity.ERROR)
mx.experts.oversize = ProtoExpert.new("istio_peer_exchange.oversize", "Length over the cap",
    expert.group.PROTOCOL, expert.severity.WARN)

local tcp_stream = Field.new("tcp.stream")

-- The frame in which the prefix of a direction has ended; 0 where it began with something else.
local seen = {}

function mx.init()
    seen = {}
end

-- Protobuf ------------------------------------------------------------------------------------------

-- A number of seven bits a byte: its value and where it ends, or nil.
local function varint(tvb, at, stop)
    local value, factor = 0, 1
    for i = at, math.min(stop, at + 10) - 1 do
        local byte = tvb(i, 1):uint()
        value = value + (byte % 128) * factor
        if byte < 128 then return value, i + 1 end
        factor = factor * 128
    end
    return nil
end

-- Calls visit(number, wire, start, stop) for each field of a message; false if it makes no sense.
local function fields(tvb, at, stop, visit)
    while at < stop do
        local tag, body = varint(tvb, at, stop)
        if tag == nil then return false, at end
        local number, wire = math.floor(tag / 8), tag % 8
        local finish
        if wire == 0 then
            local _, after = varint(tvb, body, stop)
            finish = after
        elseif wire == 1 then finish = body + 8
        elseif wire == 5 then finish = body + 4
        elseif wire == 2 then
            local size, after = varint(tvb, body, stop)
            if size == nil then return false, at end
            body, finish = after, after + size
        end
        if finish == nil or finish > stop then return false, at end
        local good, where = visit(number, wire, body, finish, at)
        if good == false then return false, where end
        at = finish
    end
    return true
end

local function text(tvb, start, stop)
    if stop == start then return "" end
    return tvb(start, stop - start):string(ENC_UTF_8)
end

local struct

-- A Value: what it is in words, and true with the range of a Struct that it holds.
local function scalar(tvb, start, stop)
    local said, inner = "null", nil
    local good, where = fields(tvb, start, stop, function(number, wire, body, finish)
        if number == 3 and wire == 2 then said = text(tvb, body, finish)
        elseif number == 5 and wire == 2 then inner = { body, finish }
        elseif number == 4 and wire == 0 then
            said = tvb(body, 1):uint() == 0 and "false" or "true"
        elseif number == 2 and wire == 1 then said = tostring(tvb(body, 8):le_float())
        elseif number == 6 then said = "(a list)" end
    end)
    return good, where, said, inner
end

local function entry(tvb, tree, start, stop, path, found, at)
    local key, value = "", nil
    local good, where = fields(tvb, start, stop, function(number, wire, body, finish)
        if number == 1 and wire == 2 then key = text(tvb, body, finish)
        elseif number == 2 and wire == 2 then value = { body, finish } end
    end)
    if not good then return false, where end
    local range = tvb(at, stop - at)
    if value == nil then value = { stop, stop } end
    local sensible, place, said, inner = scalar(tvb, value[1], value[2])
    if not sensible then return false, place end
    if inner ~= nil then
        local branch = tree:add(f.key, range, key)
        branch:set_text(key)
        return struct(tvb, branch, inner[1], inner[2], path .. "/" .. key, found)
    end
    local name = KNOWN[key]
    local isID = path == "" and key == "x-envoy-peer-metadata-id"
    if name ~= nil and (path == "/x-envoy-peer-metadata" or isID) then
        tree:add(f[name], range, said)
        found[name] = said
    elseif path == "/x-envoy-peer-metadata/LABELS" then
        tree:add(f.label, range, key .. "=" .. said):set_text(key .. ": " .. said)
    else
        tree:add(f.value, range, said):set_text(key .. ": " .. said)
    end
    return true
end

struct = function(tvb, tree, start, stop, path, found)
    local _, depth = string.gsub(path, "/", "")
    if depth > MAX_DEPTH then return false, start end
    return fields(tvb, start, stop, function(number, wire, body, finish, at)
        if number == 1 and wire == 2 then
            return entry(tvb, tree, body, finish, path, found, at)
        end
        tree:add(f.data, tvb(at, finish - at))
    end)
end

local function payload(tvb, tree, start, stop, found)
    local typed = false
    local good, where = fields(tvb, start, stop, function(number, wire, body, finish, at)
        local range = tvb(at, finish - at)
        if number == 1 and wire == 2 then
            local url = text(tvb, body, finish)
            typed = url:sub(-#"/google.protobuf.Struct") == "/google.protobuf.Struct"
            tree:add(f.type_url, range, url)
        elseif number == 2 and wire == 2 then
            local branch = tree:add(mx, range, "Struct")
            return struct(tvb, branch, body, finish, "", found)
        else
            tree:add(f.data, range)
        end
    end)
    if good and not typed then return false, start end
    return good, where
end

-- The stream ----------------------------------------------------------------------------------------

local function direction(pinfo)
    local stream = tcp_stream()
    return string.format("%s/%s:%d", stream and tostring(stream.value) or "?",
        tostring(pinfo.src), pinfo.src_port)
end

-- What the application says.
local function handOn(tvb, pinfo, tree)
    if tvb:len() == 0 then return end
    local name = mx.prefs.payload
    if name ~= "" then
        local found = Dissector.get(name)
        if found ~= nil then
            found:call(tvb, pinfo, tree)
            return
        end
    end
    local head = tvb(0, math.min(5, tvb:len())):raw()
    if head == "HTTP/" or head:match("^%u+ ") or head:match("^%u%u%u%u%u$") then
        Dissector.get("http"):call(tvb, pinfo, tree)
        return
    end
    local ports = DissectorTable.get("tcp.port")
    for _, port in ipairs({ pinfo.match_uint or 0, pinfo.dst_port, pinfo.src_port }) do
        local dissector = port ~= 0 and ports:get_dissector(port) or nil
        if dissector ~= nil and tostring(dissector) ~= "TLS" and ports:try(port, tvb, pinfo, tree) > 0 then
            return
        end
    end
    Dissector.get("data"):call(tvb, pinfo, tree)
end

-- A prefix that is whole; how many bytes it has.
local function prefix(tvb, pinfo, tree, length)
    local size = HEADER + length
    pinfo.cols.protocol:set("MX")
    local branch = tree:add(mx, tvb(0, size))
    branch:add(f.magic, tvb(0, 4))
    branch:add(f.length, tvb(4, 4))
    local found = {}
    local good, where = payload(tvb, branch, HEADER, size, found)
    if good then
        local who = found.workload or found.name or found.id or "a nameless workload"
        if found.namespace ~= nil then who = who .. " in " .. found.namespace end
        branch:append_text(", " .. who)
        pinfo.cols.info:set("Peer metadata: " .. who)
    else
        branch:append_text(", malformed")
        branch:add_proto_expert_info(mx.experts.malformed, string.format(
            "This is no metadata: it makes no sense from byte %d on", where or HEADER))
        pinfo.cols.info:set("Peer metadata, malformed")
    end
    return size
end

function mx.dissector(tvb, pinfo, tree)
    local key, total = direction(pinfo), tvb:len()
    local begins = total >= 4 and tvb(0, 4):uint() == MAGIC
    local ended = seen[key]
    if ended ~= nil and not (ended == pinfo.number and begins) then
        handOn(tvb, pinfo, tree)
        return total
    end
    if total < 4 and tvb(0, total):raw() == ("\x3d\x23\x04\x67"):sub(1, total) then
        pinfo.desegment_offset, pinfo.desegment_len = 0, DESEGMENT_ONE_MORE_SEGMENT
        return total
    end
    if not begins then
        seen[key] = 0
        handOn(tvb, pinfo, tree)
        return total
    end
    if total < HEADER then
        pinfo.desegment_offset, pinfo.desegment_len = 0, HEADER - total
        return total
    end
    local length = tvb(4, 4):uint()
    if length > MAX_LENGTH then
        seen[key] = pinfo.number
        pinfo.cols.protocol:set("MX")
        local branch = tree:add(mx, tvb(0, HEADER), "Istio Peer Metadata Exchange, too large")
        branch:add(f.magic, tvb(0, 4))
        branch:add(f.length, tvb(4, 4)):add_proto_expert_info(mx.experts.oversize)
        pinfo.cols.info:set("Peer metadata, too large")
        return total
    end
    if total < HEADER + length then
        pinfo.desegment_offset, pinfo.desegment_len = 0, HEADER + length - total
        return total
    end
    seen[key] = pinfo.number
    local size = prefix(tvb, pinfo, tree, length)
    if size < total then handOn(tvb(size):tvb(), pinfo, tree) end
    return total
end

-- Who calls us --------------------------------------------------------------------------------------

local function byMagic(tvb, pinfo, tree)
    if tvb:len() < HEADER or tvb(0, 4):uint() ~= MAGIC or tvb(4, 4):uint() > MAX_LENGTH then
        return false
    end
    -- Also what follows in this connection is ours.
    pinfo.conversation = mx
    mx.dissector(tvb, pinfo, tree)
    return true
end

DissectorTable.get("tls.alpn"):add("istio-peer-exchange", mx)
-- Where ALPN is not in the capture, and for captures of decrypted traffic.
mx:register_heuristic("tls", byMagic)
mx:register_heuristic("tcp", byMagic)
-- "Decode as".
DissectorTable.get("tls.port"):add_for_decode_as(mx)
DissectorTable.get("tcp.port"):add_for_decode_as(mx)
