# What a Rails application of one model has, for a block of docs/publishers/frameworks.md, which sees a planned `trip`:
#
#     ruby rails_trips.rb BLOCK [--roll-back]

require "active_record"

ActiveRecord::Base.establish_connection(ENV.fetch("DATABASE_URL"))

class Trip < ActiveRecord::Base
  self.table_name = "rails_trips"
end

Trip.connection.execute("create table if not exists rails_trips (id bigserial primary key, status text, user_id bigint)")
trip = Trip.create!(status: "planned", user_id: 42)
block = File.read(ARGV.first)
if ARGV.include?("--roll-back")
  Trip.transaction do
    eval(block, binding)
    raise ActiveRecord::Rollback
  end
else
  eval(block, binding)
end
puts "the trip is #{trip.reload.status}"
