# Answers every request with the commit that the image was built from.
require "socket"

commit = ENV.fetch("COMMIT", "")
commit = "unknown" if commit.empty?
body = "#{commit}\n"

trap("TERM") { exit }

server = TCPServer.new("0.0.0.0", 3000)
loop do
  client = server.accept
  while (line = client.gets) && line != "\r\n"
  end
  client.write "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" \
               "Content-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}"
  client.close
end
