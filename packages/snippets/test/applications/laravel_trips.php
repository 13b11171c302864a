<?php
// What a Laravel application of one model has, for a block of docs/publishers/frameworks.md, which sees a planned `$trip`:
//
//     php laravel_trips.php BLOCK [--roll-back]

require 'Illuminate/Database/autoload.php';
require 'Illuminate/Events/autoload.php';
require 'Illuminate/Http/autoload.php';
require 'GuzzleHttp/autoload.php';

use Illuminate\Container\Container;
use Illuminate\Database\Capsule\Manager;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Facades\Facade;

class_alias(Illuminate\Support\Facades\DB::class, 'DB');
class_alias(Illuminate\Support\Facades\Http::class, 'Http');

$application = new Container();
Facade::setFacadeApplication($application);
$database = new Manager($application);
$database->addConnection(['driver' => 'pgsql', 'url' => getenv('DATABASE_URL')]);
$database->bootEloquent();
$application->instance('db', $database->getDatabaseManager());

class Trip extends Model
{
    protected $table = 'laravel_trips';
    protected $guarded = [];
    public $timestamps = false;
}

function config(string $key): string
{
    return ['services.carillon.url' => getenv('CARILLON_URL'), 'services.carillon.key' => getenv('CARILLON_KEY')][$key];
}

DB::statement('create table if not exists laravel_trips (id bigserial primary key, status text, user_id bigint)');
$trip = Trip::create(['status' => 'planned', 'user_id' => 42]);
$rollBack = in_array('--roll-back', $argv);
if ($rollBack) DB::beginTransaction();
eval(file_get_contents($argv[1]));
if ($rollBack) DB::rollBack();
echo 'the trip is ', $trip->fresh()->status, PHP_EOL;
